"""Counting a user's own pictures with a trained method."""
