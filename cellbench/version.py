"""The version of cellbench."""

__version__ = "0.1.0"
