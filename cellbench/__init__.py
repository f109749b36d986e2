"""cellbench: the benchmark for cell counting in microscopy.

`import cellbench` is all that a notebook needs: `run`, `compare`, `count`, `verify`,
`leaderboard`, `datasets` and `plugins` do what the commands of the same names do, and give back
pandas frames and typed objects; `import_own` makes a set of one's own pictures, `recommend` finds
the method to count them with, and `export` writes its network as ONNX. Each is imported when it is
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cellbench.version import __version__ as __version__

if TYPE_CHECKING:
    from cellbench.api.counts import count
    from cellbench.api.exported import export
    from cellbench.api.grid_comparison import compare
    from cellbench.api.listings import datasets, leaderboard, plugins
    from cellbench.api.own_folders import import_own
    from cellbench.api.recommended import recommend
    from cellbench.api.trained import run, verify

__all__ = [
    "compare",
    "count",
    "datasets",
    "export",
    "import_own",
    "leaderboard",
    "plugins",
    "recommend",
    "run",
    "verify",
]

_MODULES = {
    "run": "trained",
    "verify": "trained",
    "compare": "grid_comparison",
    "count": "counts",
    "export": "exported",
    "leaderboard": "listings",
    "datasets": "listings",
    "import_own": "own_folders",
    "recommend": "recommended",
    "plugins": "listings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'cellbench' has no attribute {name!r}")
    return getattr(import_module(f"cellbench.api.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
