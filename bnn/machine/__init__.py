"""Bits, vectors, machine code and files: nothing here knows a network."""
