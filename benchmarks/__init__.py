"""Benchmarks: each states its question, checks equal results first and writes its figures."""
