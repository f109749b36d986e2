"""Counting methods, each with the parts that only it needs."""
