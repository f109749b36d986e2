"""Constants of a registered part's class, read from source files without importing any of them."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from cellbench.plugin_index import Entry


def class_constant(entry: Entry, name: str, default: Any = None) -> Any:
    """The value of a class attribute that is written as a constant, own or inherited.

    Args:
        entry: of the part.
        name: of the attribute.
        default: the answer where no class that can be read sets it to a constant.
    """
    tree = _parsed(entry.file)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.lineno == entry.line:
            found = _constant(entry.module, entry.file, node.name, name, set())
            return default if found is None else found.value
    return default


def _constant(
    module: str, file: Path, class_name: str, name: str, seen: set[tuple[str, str]]
) -> ast.Constant | None:
    """The constant in a class, else in its bases from left to right."""
    tree = _parsed(file)
    if tree is None or (module, class_name) in seen:
        return None
    seen.add((module, class_name))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            break
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == class_name:
                    source = _source(node.module, module, file)
                    if source is not None:
                        return _constant(node.module, source, alias.name, name, seen)
    else:
        return None
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(item, "value", None)
            return value if isinstance(value, ast.Constant) else None
    for base in node.bases:
        if isinstance(base, ast.Name):
            found = _constant(module, file, base.id, name, seen)
            if found is not None:
                return found
    return None


def _source(wanted: str, module: str, file: Path) -> Path | None:
    """The file of a module, found from the one that imports it or from its installed package."""
    top, *below = wanted.split(".")
    own, *own_below = module.split(".")
    if own == top and own_below:
        inside = file.parent if file.name == "__init__.py" else file
        root = inside.parents[len(own_below) - 1]
    else:
        try:
            spec = importlib.util.find_spec(top)  # of a top-level package: imports nothing
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


@cache
def _parsed(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
