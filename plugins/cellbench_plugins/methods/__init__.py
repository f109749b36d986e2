"""Whole published methods that no skeleton fits."""
