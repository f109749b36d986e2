"""Data sets: raw layouts, where they come from, how they are annotated."""
