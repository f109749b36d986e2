"""Matchers: one-to-one assignment of proposals to annotated cells."""
