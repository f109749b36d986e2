"""Counting of a user's own pictures with a trained method, and correction of the counts."""
