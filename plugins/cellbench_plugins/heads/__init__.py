"""Heads: point proposals from one feature map."""
