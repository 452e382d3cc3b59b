"""Convolutions followed change by change."""
