"""Recommendation of a counting method for a set of annotated pictures, by cross-validation."""
