"""Which installed module registers which part, read without importing any of them.

The modules behind every `cellbench.plugins` entry point are read as syntax trees: a class under
`@MATCHERS.register_module()` is the entry (matcher, its name). A listing of all parts therefore
costs no import of torch, and a part is known by name even where its module would fail to import.
"""

import ast
import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from cellbench.files.reading import read_file

GROUP = "cellbench.plugins"

# Longer files are no source that anyone wrote.
LARGEST_SOURCE_BYTES = 4 * 2**20

# The variable names under which cellbench.registry holds its registries.
ROLES = {
    "BACKBONES": "backbone",
    "CONVS": "conv",
    "DECODERS": "decoder",
    "HEADS": "head",
    "MATCHERS": "matcher",
    "LOSSES": "loss",
    "TARGETS": "target",
    "TRANSFORMS": "transform",
    "DATASETS": "dataset",
    "SIMULATORS": "simulator",
    "COUNTERS": "counter",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered part.

    Attributes:
        role: as in `cellbench.registry.REGISTRIES`.
        name: what a config writes as `type`.
        module: dotted name of the module that registers it.
        file: the module's source file.
        node: the class statement.
        distribution: name of the installed distribution.
        version: of that distribution.
    """

    role: str
    name: str
    module: str
    file: Path
    node: ast.ClassDef
    distribution: str
    version: str

    @property
    def line(self) -> int:
        """Line of the class statement."""
        return self.node.lineno

    @property
    def docstring(self) -> str:
        """Of the class, cleaned; empty if it has none."""
        return ast.get_docstring(self.node) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def source(self) -> str:
        """The paper that the docstring names after `Source:`; empty if none."""
        _, found, after = self.docstring.partition("Source:")
        if not found:
            return ""
        paragraph = after.partition("\n\n")[0].partition("Differs:")[0]
        return " ".join(paragraph.split())

    @property
    def arguments(self) -> ast.arguments | None:
        """Of the constructor, `self` first; None if it is inherited."""
        for item in self.node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return item.args
        return None


@dataclass(frozen=True, slots=True)
class UnreadModule:
    """A plugin module to import when a name is in no index: it may register in other ways.

    Attributes:
        module: dotted name.
        distribution: that installed it.
        reason: why its source cannot be read, as the end of a sentence; empty if it was read.
    """

    module: str
    distribution: str
    reason: str = ""


@cache
def entries() -> tuple[Entry, ...]:
    """Every part of every installed plugin, in the order of roles and names."""
    found = [entry for point in _points() for entry in _read_point(point)[0]]
    return tuple(sorted(found, key=lambda e: (list(ROLES.values()).index(e.role), e.name)))


def find(role: str, name: Any) -> list[Entry]:
    """The entries of one role under one name; more than one is a conflict."""
    return [entry for entry in entries() if entry.role == role and entry.name == name]


def parameters(role: str, name: Any) -> dict[str, bool] | None:
    """The argument names of a part's constructor, each with whether it must be given.

    Returns:
        None where there is not one such part, and where its constructor is inherited or takes any
        keyword.
    """
    found = find(role, name)
    args = found[0].arguments if len(found) == 1 else None
    if args is None or args.kwarg is not None:
        return None
    positional = [*args.posonlyargs, *args.args]
    missing = len(positional) - len(args.defaults)
    needed = {arg.arg: index < missing for index, arg in enumerate(positional) if index}
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        needed[arg.arg] = default is None
    return needed


@cache
def unread_modules() -> tuple[UnreadModule, ...]:
    """Modules of plugins in which the index saw no part."""
    return tuple(module for point in _points() for module in _read_point(point)[1])


def _points() -> list[EntryPoint]:
    seen: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        seen.setdefault(point.value, point)
    return list(seen.values())


@cache
def _read_point(point: EntryPoint) -> tuple[list[Entry], list[UnreadModule]]:
    """The parts of a plugin, and the modules that must be imported to know all of them."""
    name, version = "unknown", ""
    if point.dist is not None:
        name, version = point.dist.name, point.dist.version
    root = point.module
    try:
        spec = importlib.util.find_spec(root)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the packages above it are imported: any failure, sys.exit too
        return [], [UnreadModule(root, name, f"cannot be found ({type(error).__name__})")]
    if spec is None or spec.origin is None:
        return [], [UnreadModule(root, name, "cannot be found")]
    origin = Path(spec.origin)
    files = {root: origin}
    if spec.submodule_search_locations:
        for path in sorted(origin.parent.rglob("*.py")):
            parts = path.relative_to(origin.parent).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            files[".".join((root, *parts))] = path
    found: list[Entry] = []
    unread: list[UnreadModule] = []
    for module, file in files.items():
        try:
            registered, registers_elsewhere = _read_file(file)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or str(error)
            reason = str(reason) or "it is nested too deeply"
            unread.append(UnreadModule(module, name, f"cannot be read ({reason})"))
            continue
        found += [
            Entry(role, given or node.name, module, file, node, name, version)
            for role, given, node in registered
        ]
        if registers_elsewhere:
            unread.append(UnreadModule(module, name))
    return found, unread


def _read_file(file: Path) -> tuple[list[tuple[str, str | None, ast.ClassDef]], bool]:
    """The classes that a file registers, with role and explicit name, and whether it may do more.

    A registration is `@MATCHERS.register_module(name="KHM")`, the name optional.

    Raises:
        OSError: it is no regular file, or too long.
        SyntaxError, ValueError, RecursionError, MemoryError: it is not UTF-8, or not Python.
    """
    source = read_file(file, most=LARGEST_SOURCE_BYTES).decode("utf-8")
    if "register_module" not in source:
        return [], False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an author's invalid escapes are no user's concern
        tree = ast.parse(source)
    found: list[tuple[str, str | None, ast.ClassDef]] = []
    for node in _classes(tree):
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=registry), attr="register_module")
                ) if registry in ROLES:
                    given: dict[str | None, Any] = {
                        k.arg: getattr(k.value, "value", None) for k in decorator.keywords
                    }
                    name = given.get("name")
                    found.append((ROLES[registry], None if name is None else str(name), node))
    return found, source.count("register_module(") > len(found)


def _classes(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """All class statements, whatever they stand in; expressions, most of a tree, hold none."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, ())
            if isinstance(inner, list):  # the body of an `if` expression is none
                waiting += inner
