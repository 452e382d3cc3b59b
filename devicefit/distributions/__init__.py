"""Laws of ln R and what reading them gets wrong: mixtures, thresholds, pairs, sensing."""
