"""Data sets: download addresses, raw layouts and readers of annotations."""
