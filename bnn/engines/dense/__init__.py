"""The plain reference engine."""
