"""Configs: lookup, composition, schema and checks; no torch."""
