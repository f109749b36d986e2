"""Losses on matched proposals."""
