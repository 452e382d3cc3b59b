"""From counts to accuracy over both error rates, and the share of chips within a limit."""
