"""Devices and conditions that a fit has not seen, and errors counted beside them."""
