"""Config files: where they are found, and how they are read.

A `.py` config is a program: it runs because the user typed its name, or a `.py` file that the user
typed names it as a base. YAML and JSON configs are data, which may come from anyone: no tag of
theirs is followed, their size and depth are limited, and what they may name as a base is data in
their own folder or a config that cellbench ships.

A plugin package ships configs in a folder `configs/` beside its modules. `package:methods/x.py`
names one of them, `cellbench:methods/dla.py` one of cellbench's own, as a config and as a base.
"""

import ast
import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from cellbench.errors import UserError
from cellbench.plugin_index import installed_plugins

BASES = "_base_"
DATA_SUFFIXES = (".yaml", ".yml", ".json")
# Two letters at least: a single one is a drive of Windows.
_NAMED = re.compile(r"([A-Za-z_]\w+):([^:]+)")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file and its bases, composed.

    Attributes:
        values: plain dicts; no key starts with an underscore.
        data: names of the YAML and JSON files among them: these may be anyone's.
    """

    values: dict[str, Any]
    data: tuple[str, ...] = ()


def config_folders() -> list[Path]:
    """Where configs are looked for: the working folder, plugin packages, those shipped here."""
    return [Path.cwd() / "configs", *package_folders().values()]


@cache
def package_folders() -> dict[str, Path]:
    """The `configs` folder of every installed plugin package, that of cellbench last.

    Packages are located by their entry points; none of them is imported.
    """
    found: dict[str, Path] = {}
    for name in sorted({point.module.partition(".")[0] for point in installed_plugins()}):
        try:
            spec = find_spec(name)  # of a top-level package: imports nothing
        except (ImportError, ValueError, AttributeError):
            continue
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / "configs").is_dir():
                found.setdefault(name, Path(place) / "configs")
    package = Path(__file__).parents[1]
    found.pop(package.name, None)
    shipped = package / "configs"  # in a wheel
    return found | {package.name: shipped if shipped.is_dir() else package.parent / "configs"}


def _packaged(name: str) -> Path | None:
    """The file that `package:path` names; None for another kind of name.

    Raises:
        UserError: no such package has configs, or the path leads out of them.
    """
    parts = _NAMED.fullmatch(name)
    if parts is None:
        return None
    folder = package_folders().get(parts[1])
    if folder is None:
        known = ", ".join(package_folders())
        raise UserError(
            f"{name!r}: no package {parts[1]!r} with configs is installed; known are {known}."
        )
    place = (folder / parts[2]).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise UserError(f"{name!r} leads out of {folder}; name a config in it.")
    return place


def find_config(name: str | Path) -> Path:
    """The file that a user means by a config's name.

    Args:
        name: a path, or a path below a `configs` folder, with or without `configs/` and `.py`;
            `package:path` for the one of a package.

    Raises:
        UserError: there is none; the nearest names are offered.
    """
    given = _packaged(str(name)) or Path(name)
    tries = [given]
    relative = Path(*given.parts[1:]) if given.parts[:1] == ("configs",) else given
    if not given.is_absolute():
        tries += [folder / relative for folder in config_folders()]
    for path in tries:
        for candidate in (path, path.with_name(path.name + ".py")) if path.name else ():
            if _is_file(candidate):
                return candidate.resolve()
    known = sorted(
        {
            "configs/" + file.relative_to(folder).as_posix()
            for folder in config_folders()
            for file in folder.rglob("*.py")
            if "grids" not in file.parts
        }
    )
    near = get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}."
    raise UserError(f"There is no config {str(name)!r}; {hint}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no disk takes: too long, or with a NUL
        return False


# Files that were read inside `loading_once`; None outside.
_kept: dict[Path, ConfigFile] | None = None


@contextmanager
def loading_once() -> Iterator[None]:
    """Within it a config file is read once, however many combinations are made from it."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def load_file(path: Path) -> dict[str, Any]:
    """The values of `read_config`."""
    return read_config(path).values


def read_config(path: Path) -> ConfigFile:
    """Compose a config file and its bases into plain dicts.

    Raises:
        UserError: the file does not run or is no plain data, names a base that is not there or
            that it may not name, or two bases share a key.
    """
    if _kept is None:
        return _read(path)
    if path not in _kept:
        _kept[path] = _read(path)
    return copy.deepcopy(_kept[path])


def _read(path: Path, below: tuple[Path, ...] = ()) -> ConfigFile:
    """A config over its bases.

    Args:
        path: of the file.
        below: the files that name it as a base.
    """
    from mmengine.config import Config, ConfigDict

    if path.suffix in DATA_SUFFIXES:
        from cellbench.config.plain_data import read_data

        own = read_data(path)
        named = own.pop(BASES, [])
        if named and below and below[-1].suffix == ".py":
            raise UserError(
                f"{path}: YAML and JSON that are the base of a .py config have no bases of their "
                "own; name them in the .py config."
            )
        find_base, data = _base_of_data, [path.name]
    elif path.suffix == ".py":
        with _program(path):
            program, named = _parse(path)
        find_base, data = _base_of_program, []
    else:
        raise UserError(f"{path} is no config: these end in .py, .yaml, .yml or .json.")
    composed: dict[str, Any] = {}
    for base in named if isinstance(named, list | tuple) else [named]:
        if not isinstance(base, str) or not base or "\0" in base:
            raise UserError(f"{path}: a base is the name of a file, not {base!r}.")
        place = find_base(path, base)
        if place in (path.resolve(), *below):
            raise UserError(f"{path}: {base!r} is a base of itself; take it out of {BASES}.")
        found = _read(place, (*below, path.resolve()))
        shared = sorted(composed.keys() & found.values.keys())
        if shared:
            raise UserError(f"{path}: two of its bases have the key {shared[0]!r}; take one out.")
        composed |= found.values
        data += found.data
    if path.suffix == ".py":
        names: dict[str, Any] = {BASES: ConfigDict(copy.deepcopy(composed)), "__file__": str(path)}
        with _program(path):
            exec(program, names)
        own = {k: v for k, v in names.items() if not isinstance(v, FunctionType | ModuleType)}
    try:
        # mmengine's merge, so that `_delete_` does in data what it does in a program
        merged = Config(composed)
        merged.merge_from_dict({k: v for k, v in own.items() if not k.startswith("_")})
        values = merged.to_dict()
    except Exception as error:  # keys and values may meet in any way
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit its bases ({reason}).") from None
    return ConfigFile(values, tuple(dict.fromkeys(data)))


def _base_of_data(path: Path, named: str) -> Path:
    """The file that data name as a base, if they may.

    Raises:
        UserError: it is not there, a program that is not shipped, or outside the folder of `path`.
    """
    shipped = config_folders()[-1].resolve()
    packaged = _packaged(named)
    folders = (path.parent, shipped, shipped.parent)
    for place in [packaged] if packaged else [(folder / named).resolve() for folder in folders]:
        if not _is_file(place):
            continue
        if place.is_relative_to(shipped) and place.suffix == ".py":
            return place
        if place.is_relative_to(path.parent.resolve()) and place.suffix in DATA_SUFFIXES:
            return place
    raise UserError(
        f"{path}: a YAML or JSON config may have as base one that is beside it or one that "
        f"cellbench ships ({shipped}), and {named!r} is neither; write a .py config for others."
    )


def _base_of_program(path: Path, named: str) -> Path:
    """The file that a program names as a base.

    Raises:
        UserError: it is not there.
    """
    place = _packaged(named) or (path.parent / named).resolve()
    if not _is_file(place):
        raise UserError(
            f"{path}: the base {named!r} is not there; those of cellbench go by names such as "
            f"cellbench:methods/dla.py ({config_folders()[-1]})."
        )
    return place


def _parse(path: Path) -> tuple[Any, Any]:
    """A program's code without the assignment of its bases, and what that assigns."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named: Any = []
    for node in list(tree.body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == BASES:
            named = eval(compile(ast.Expression(node.value), str(path), "eval"), {})
            tree.body.remove(node)
    return compile(tree, str(path), "exec"), named


@contextmanager
def _program(path: Path) -> Iterator[None]:
    """Say in one sentence why a config that is a program does not run."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config is Python: it may fail in any way, and may exit
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path} cannot be read as a config ({type(error).__name__}: {reason})."
        ) from None
