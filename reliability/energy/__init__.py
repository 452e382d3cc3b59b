"""Energy per programmed cell, as draws, and what it rests on."""
