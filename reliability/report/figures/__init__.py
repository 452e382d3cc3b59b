"""Figures of the report, and how it writes numbers."""
