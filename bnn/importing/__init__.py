"""Networks of others: read, folded with the rounding of their source, proven by a round trip."""
