"""What is kept of readings: counts, bins, sums, bounds."""
