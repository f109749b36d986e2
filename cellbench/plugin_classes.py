"""Class constants of registered parts, read from source files without importing them."""

import ast
from pathlib import Path
from typing import Any

from cellbench.plugin_index import Entry, find_module


def class_constant(entry: Entry, name: str, default: Any = None) -> Any:
    """Return the value of a class attribute that is written as a constant, own or inherited.

    Args:
        entry: of the part.
        name: of the attribute.
        default: returned where no class that can be read sets it to a constant.
    """
    # Classes to search, depth first, with bases from left to right.
    waiting: list[tuple[str, Path, str]] = [(entry.module, entry.file, entry.node.name)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        module, file, wanted = waiting.pop(0)
        if (module, wanted) in seen:
            continue
        seen.add((module, wanted))
        try:
            body = ast.parse(file.read_text(encoding="utf-8")).body
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name == wanted:
                for item in node.body:
                    if isinstance(item, ast.Assign | ast.AnnAssign):
                        targets = item.targets if isinstance(item, ast.Assign) else [item.target]
                        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                            value = item.value
                            return value.value if isinstance(value, ast.Constant) else default
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                waiting = [*((module, file, base) for base in bases), *waiting]
                break
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [a.name for a in node.names if (a.asname or a.name) == wanted]
                source = _source(node.module, module, file) if names else None
                if source is not None:
                    waiting.insert(0, (node.module, source, names[0]))
                    break
    return default


def _source(wanted: str, module: str, file: Path) -> Path | None:
    """Find the file of a module, from the one that imports it or from its installed package."""
    top, *below = wanted.split(".")
    own, *own_below = module.split(".")
    if own == top and own_below:
        inside = file.parent if file.name == "__init__.py" else file
        root = inside.parents[len(own_below) - 1]
    else:
        try:
            spec = find_module(top)  # of a top-level package: imports nothing
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None or not spec.has_location:
            return None  # built in or frozen, such as abc
        root = Path(spec.origin).parent
    place = root.joinpath(*below)
    for candidate in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
