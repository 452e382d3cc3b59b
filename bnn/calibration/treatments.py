"""Treatments of thresholds by name. Nothing else is imported here: that takes no time."""

FIXED = "fixed"
PER_CHIP = "calibrated per chip"
FOLDED_FOR_EACH = "folded for each BER"
