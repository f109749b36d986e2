"""Decoders: one map from feature maps of several strides."""
