"""The contract tests, for every author of a plugin; `cellbench check` runs them.

A claim is a function that takes a part, or what is built from it, and raises where the part does
not keep its contract. None of them needs pytest, and all of them run under it.
"""

from cellbench.testing.data import check_raw_copy
from cellbench.testing.package import failures

__all__ = ["check_raw_copy", "failures"]
