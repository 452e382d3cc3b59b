"""Chips drawn from the posterior at a design, counted, and held against the promise."""
