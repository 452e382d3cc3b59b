"""From a required life to error rates at its end."""
