"""Transforms of images and their points: augmentation and preparation."""
