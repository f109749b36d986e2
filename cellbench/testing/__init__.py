"""Contract tests for authors of plugins; `cellbench check` runs them.

A claim is a function that takes a part, or what is built from it, and raises if the part breaks
its contract. None of them needs pytest, and all of them run under it.
"""

from cellbench.testing.data import check_raw_copy
from cellbench.testing.package import failures

__all__ = ["check_raw_copy", "failures"]
