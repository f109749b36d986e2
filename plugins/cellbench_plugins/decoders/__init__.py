"""Decoders: feature maps of several strides to one."""
