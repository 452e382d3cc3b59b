"""From device posteriors and network counts to decisions and reports."""
