"""Which source the variance of an answer comes from."""
