"""Sweeps: many runs, each in its own process; nothing here imports torch or the engine."""
