"""Base class of counting methods, and the two counters that are built from parts."""
