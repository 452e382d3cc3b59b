"""All about one device from one set of readings, its file and its records."""
