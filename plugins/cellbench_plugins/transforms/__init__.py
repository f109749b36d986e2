"""Augmentations that move points exactly."""
