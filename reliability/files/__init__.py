"""Files that appear whole, whose names are safe, and what happens when a command is stopped."""
