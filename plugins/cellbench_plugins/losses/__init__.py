"""Losses on matched proposals and on density maps."""
