"""Annotations as people keep them: one file a format, each a function from a file to its cells."""
