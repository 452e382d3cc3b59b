"""Checks of a fit, each a gate with a number, a limit and a remedy."""
