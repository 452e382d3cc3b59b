"""Trainable networks, with and without errors, and folding them."""
