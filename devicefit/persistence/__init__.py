"""Failures that persist in a device, and levels of variability beside a fitted law."""
