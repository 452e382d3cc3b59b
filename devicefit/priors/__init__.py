"""What a user says before the first reading: files, statements, what they imply."""
