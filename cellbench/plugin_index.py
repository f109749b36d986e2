"""Which installed module registers which part, read without importing any of them.

The modules behind every `cellbench.plugins` entry point are read as syntax trees: a class under
`@MATCHERS.register_module()` is the entry (matcher, its name). A listing of all parts therefore
costs no import of torch, and a part is known by name even where its module would fail to import.
"""

import ast
import importlib.util
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

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
        line: line of the class statement.
        docstring: of the class, cleaned; empty if it has none.
        signature: the constructor's, as written, without `self`; empty if it is inherited.
        distribution: name of the installed distribution.
        version: of that distribution.
    """

    role: str
    name: str
    module: str
    file: Path
    line: int
    docstring: str
    signature: str
    distribution: str
    version: str

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


def find(role: str, name: str) -> list[Entry]:
    """The entries of one role under one name; more than one is a conflict."""
    return [entry for entry in entries() if entry.role == role and entry.name == name]


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
            parts_here, registers_elsewhere = _read_file(module, file, name, version)
        except _UnreadableSourceError as error:
            unread.append(UnreadModule(module, name, f"cannot be read ({error})"))
            continue
        found += parts_here
        if registers_elsewhere:
            unread.append(UnreadModule(module, name))
    return found, unread


class _UnreadableSourceError(Exception):
    """A source file that the index cannot read; the message is the reason."""


def _parse(file: Path) -> tuple[str, ast.Module | None]:
    """A source file's text and syntax tree; no tree if it registers nothing.

    Raises:
        _UnreadableSourceError: it is no regular file, too long, not UTF-8, or not Python.
    """
    try:
        if not file.is_file():
            raise _UnreadableSourceError("it is no regular file")
        if file.stat().st_size > LARGEST_SOURCE_BYTES:
            raise _UnreadableSourceError(f"it has more than {LARGEST_SOURCE_BYTES} bytes")
        source = file.read_text(encoding="utf-8")
        if "register_module" not in source:
            return source, None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an author's invalid escapes are no user's concern
            return source, ast.parse(source)
    except OSError as error:
        raise _UnreadableSourceError((error.strerror or str(error)).lower()) from None
    except UnicodeDecodeError:
        raise _UnreadableSourceError("it is not UTF-8") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _UnreadableSourceError(reason or "it is nested too deeply") from None


def _read_file(module: str, file: Path, name: str, version: str) -> tuple[list[Entry], bool]:
    """The parts that a file registers, and whether it must be imported to know all of them.

    Raises:
        _UnreadableSourceError: see `_parse`.
    """
    source, tree = _parse(file)
    if tree is None:
        return [], False
    found = []
    calls = source.count("register_module(")
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            registered = _registration(decorator)
            if registered is None:
                continue
            role, given = registered
            calls -= 1
            try:
                signature = _signature(node)
            except RecursionError:
                raise _UnreadableSourceError("it is nested too deeply") from None
            found.append(
                Entry(
                    role=role,
                    name=given or node.name,
                    module=module,
                    file=file,
                    line=node.lineno,
                    docstring=ast.get_docstring(node) or "",
                    signature=signature,
                    distribution=name,
                    version=version,
                )
            )
    return found, calls > 0


def _registration(decorator: ast.expr) -> tuple[str, str | None] | None:
    """Role and explicit name of `@MATCHERS.register_module(name="KHM")`; None if it is not one."""
    if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)):
        return None
    target = decorator.func
    if target.attr != "register_module" or not isinstance(target.value, ast.Name):
        return None
    role = ROLES.get(target.value.id)
    if role is None:
        return None
    for keyword in decorator.keywords:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return role, str(keyword.value.value)
    return role, None


def _signature(node: ast.ClassDef) -> str:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = ast.unparse(item.args)
            return f"({arguments.removeprefix('self').removeprefix(', ')})"
    return ""


@cache
def parameters(entry: Entry) -> dict[str, bool] | None:
    """The constructor's argument names, each with whether it must be given.

    Returns:
        None where the constructor is inherited or takes any keyword.
    """
    if not entry.signature:
        return None
    function = ast.parse(f"def init{entry.signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    args = function.args
    if args.kwarg is not None:
        return None
    positional = [*args.posonlyargs, *args.args]
    missing = len(positional) - len(args.defaults)
    needed = {arg.arg: index < missing for index, arg in enumerate(positional)}
    needed |= {
        arg.arg: default is None
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    return needed
