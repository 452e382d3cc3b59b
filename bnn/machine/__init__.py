"""Bits, vectors and files: nothing here knows a network."""
