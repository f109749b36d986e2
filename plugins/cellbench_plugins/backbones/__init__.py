"""Backbones: feature maps of an image at several strides."""
