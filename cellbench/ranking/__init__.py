"""Leaderboards from records: rows, statistics, ranks, tables and their audit; no torch."""
