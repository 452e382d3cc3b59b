"""Thresholds: fixed, folded for a rate, calibrated per chip."""
