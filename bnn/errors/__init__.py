"""What can be wrong with stored weights, and drawing it."""
