"""Index of the registered parts of installed plugins, read without importing them.

The modules behind every `cellbench.plugins` entry point are read as syntax trees: a class under
`@MATCHERS.register_module()` is the entry (matcher, its name). A listing of all parts therefore
costs no import of torch, and a part is known by name even where its module would fail to import.
"""

import ast
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from cellbench.files.reading import read_file

GROUP = "cellbench.plugins"

# Largest source file that is read; no handwritten one is longer.
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
        name: the `type` in a config.
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
        """Docstring of the class, cleaned; empty if it has none."""
        return ast.get_docstring(self.node) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def source(self) -> str:
        """Paper that the docstring gives after `Source:`; empty if none."""
        _, found, after = self.docstring.partition("Source:")
        if not found:
            return ""
        paragraph = after.partition("\n\n")[0].partition("Differs:")[0]
        return " ".join(paragraph.split())

    @property
    def arguments(self) -> ast.arguments | None:
        """Arguments of the constructor, `self` first; None if it is inherited."""
        for item in self.node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return item.args
        return None


@dataclass(frozen=True, slots=True)
class UnreadModule:
    """Plugin module that may register parts which its source does not show.

    It is imported when a name is not in the index.

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
    """Return the parts of all installed plugins, in the order of roles and names."""
    found = [entry for source in _sources() for entry in _read(source)[0]]
    return tuple(sorted(found, key=lambda e: (list(ROLES.values()).index(e.role), e.name)))


def find(role: str, name: Any) -> list[Entry]:
    """Return the entries of one role under one name; more than one is a conflict.

    Only files that contain the name are parsed: a tenth of them.
    """
    named = [s for s in _sources() if s.text and isinstance(name, str) and name in s.text]
    found = [entry for source in named for entry in _read(source)[0]]
    return [entry for entry in found if entry.role == role and entry.name == name]


def parameters(role: str, name: Any) -> dict[str, bool] | None:
    """Return the argument names of a part's constructor, each with whether it is required.

    Returns:
        None where there is not exactly one such part, and where its constructor is inherited or
        takes any keyword.
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


def named_parts(node: Any, role: str | None) -> Iterator[tuple[str, str]]:
    """Yield role and name of every part that a config names.

    Args:
        node: of the config.
        role: of the node, or of every node of a list; None for a node that is not a part.
    """
    if isinstance(node, list | tuple):
        for child in node:
            yield from named_parts(child, role)
    elif isinstance(node, Mapping):
        if role is not None and isinstance(node.get("type"), str):
            yield role, node["type"]
        for key, child in node.items():
            yield from named_parts(child, key if key in ROLES.values() else None)


@cache
def unread_modules() -> tuple[UnreadModule, ...]:
    """Return the plugin modules that may register parts which the index does not have."""
    return tuple(module for source in _sources() if (module := _read(source)[1]) is not None)


@cache
def installed_plugins() -> tuple[EntryPoint, ...]:
    """Return the entry points of all plugins, each value once."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        points.setdefault(point.value, point)
    return tuple(points.values())


def find_module(name: str) -> ModuleSpec | None:
    """Find the spec of an installed module; a top-level one is not imported."""
    found = importlib.util.find_spec(name)
    return _hidden_package(name, found) or found


def import_module(name: str) -> ModuleType:
    """Import a module of a plugin, with its package from where `find_module` finds it."""
    root = name.partition(".")[0]
    spec = _hidden_package(root, importlib.util.find_spec(root))
    if spec is not None and spec.loader is not None:
        sys.modules[root] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[root])
        except BaseException:
            sys.modules.pop(root, None)
            raise
    return importlib.import_module(name)


def _hidden_package(name: str, found: ModuleSpec | None) -> ModuleSpec | None:
    """Find an installed package that a plain folder of its name hides; None where none is hidden.

    A folder in the working folder, such as `cellbench new` writes, is a package without modules
    for Python where the working folder comes first: under `python -m` and in notebooks.
    """
    if found is None or found.origin is not None or "." in name:
        return None
    specs = (finder.find_spec(name, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None and spec.origin is not None), None)


def forget() -> None:
    """Clear the index, so that it is read again after a plugin was installed in this process."""
    for cached in (entries, unread_modules, installed_plugins, _sources):
        cached.cache_clear()


@dataclass(frozen=True, slots=True)
class _Source:
    """Source of a plugin module on disk.

    Attributes:
        module: dotted name.
        file: of its source.
        text: the source; empty if it registers nothing or cannot be read.
        distribution: that installed it.
        version: of that distribution.
        reason: why it cannot be read, as the end of a sentence; empty if it was.
    """

    module: str
    file: Path
    text: str
    distribution: str
    version: str
    reason: str = ""


@cache
def _sources() -> tuple[_Source, ...]:
    """Read the sources of all modules of all installed plugins."""
    found: list[_Source] = []
    for point in installed_plugins():
        root = point.module
        name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        try:
            spec = find_module(root)
            reason = "cannot be found"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # its parent packages are imported, and may even exit
            spec, reason = None, f"cannot be found ({type(error).__name__})"
        if spec is None or spec.origin is None:
            found.append(_Source(root, Path(), "", name, version, reason))
            continue
        origin = Path(spec.origin)
        files = {root: origin}
        if spec.submodule_search_locations:
            for path in sorted(origin.parent.rglob("*.py")):
                parts = path.relative_to(origin.parent).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                files[".".join((root, *parts))] = path
        for module, file in files.items():
            text = reason = ""
            try:
                text = read_file(file, most=LARGEST_SOURCE_BYTES).decode("utf-8")
            except (OSError, ValueError) as error:
                reason = _cannot_be_read(error)
            if "register_module" not in text:
                text = ""
            found.append(_Source(module, file, text, name, version, reason))
    return tuple(found)


@cache
def _read(source: _Source) -> tuple[tuple[Entry, ...], UnreadModule | None]:
    """Parse the classes that a module registers; return them, and the module if it may have more.

    A registration is `@MATCHERS.register_module(name="KHM")`, the name optional.
    """
    if source.reason:
        return (), UnreadModule(source.module, source.distribution, source.reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, which only the author can correct
            tree = ast.parse(source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return (), UnreadModule(source.module, source.distribution, _cannot_be_read(error))
    found: list[Entry] = []
    for node in _classes(tree):
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=registry), attr="register_module")
                ) if registry in ROLES:
                    given: dict[str | None, Any] = {
                        k.arg: getattr(k.value, "value", None) for k in decorator.keywords
                    }
                    name = node.name if given.get("name") is None else str(given["name"])
                    found.append(
                        Entry(
                            ROLES[registry], name, source.module, source.file, node,
                            source.distribution, source.version,
                        )
                    )  # fmt: skip
    more = source.text.count("register_module(") > len(found)
    return tuple(found), UnreadModule(source.module, source.distribution) if more else None


def _cannot_be_read(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or str(error)
    return f"cannot be read ({reason or 'it is nested too deeply'})"


def _classes(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """Yield all class statements, however nested; expressions, most of a tree, contain none."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, ())
            if isinstance(inner, list):  # the body of an `if` expression is not a list
                waiting += inner
