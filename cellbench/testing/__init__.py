"""Contract tests for authors of plugins; `cellbench check` runs them.

A claim is a function that takes a part, or what is built from it, and raises if the part breaks
its contract. None of them needs pytest, and all of them run under it. Both functions are imported
when they are first used: `cellbench new` needs no torch, whose import takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellbench.testing.data import check_raw_copy
    from cellbench.testing.package import failures

__all__ = ["check_raw_copy", "failures"]

_MODULES = {"check_raw_copy": "data", "failures": "package"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'cellbench.testing' has no attribute {name!r}")
    return getattr(import_module(f"cellbench.testing.{_MODULES[name]}"), name)
