"""Chips drawn from a posterior: arrays, error rates, lots that were counted, readings."""
