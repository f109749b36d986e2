"""Configs: where they are found, how they are composed, and what they may hold; no torch."""
