"""Frozen results, their records and the verdict."""
