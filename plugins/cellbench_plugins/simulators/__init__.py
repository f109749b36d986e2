"""Simulators: generated data sets that resemble the real ones and have exact points."""
