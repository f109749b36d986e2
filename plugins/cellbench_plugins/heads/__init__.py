"""Heads: one feature map to proposals."""
