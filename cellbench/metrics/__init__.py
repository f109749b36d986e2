"""Counting and localisation metrics: pure functions on arrays."""
