"""Endurance, retention, wear-out, and what a required life does to error rates."""
