"""What is done to readings before a fit: overflow, cells that never switch, places."""
