"""cellbench: the benchmark for cell counting in microscopy."""

__version__ = "0.1.0"
