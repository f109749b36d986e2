"""Matchers: which proposal is which cell."""
