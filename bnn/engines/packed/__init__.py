"""Layers counted in full on packed words, convolutions included."""
