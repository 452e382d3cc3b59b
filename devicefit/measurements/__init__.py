"""From a user's file to a checked table in SI units."""
