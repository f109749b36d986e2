"""Trunks: image to feature maps at several strides."""
