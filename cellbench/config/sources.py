"""Lookup and reading of config files.

A `.py` config is a program: it runs because the user gave its name, or because it is a base of a
`.py` config that the user gave. YAML and JSON configs are data, which may come from anyone: their
tags are not followed, their size and depth are limited, and their bases may only be data in their
own folder or configs that cellbench ships.

A plugin package ships configs in a folder `configs/` beside its modules. `package:methods/x.py`
names one of them, `cellbench:methods/dla.py` one of cellbench's own, as a config and as a base.
"""

import ast
import copy
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from os.path import isfile
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from cellbench.errors import UserError
from cellbench.plugin_index import find_module, installed_plugins

BASES = "_base_"
DATA_SUFFIXES = (".yaml", ".yml", ".json")
# Two letters at least: a single one is a Windows drive.
_NAMED = re.compile(r"([A-Za-z_]\w+):([^:]+)")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Composed values of a config file and its bases.

    Attributes:
        values: plain dicts; no key starts with an underscore.
        data: names of the YAML and JSON files among them, which are not trusted.
    """

    values: dict[str, Any]
    data: tuple[str, ...] = ()


def config_folders() -> list[Path]:
    """List the folders to search for configs: working folder, plugin packages, cellbench's own."""
    return [Path.cwd() / "configs", *package_folders().values()]


@cache
def package_folders() -> dict[str, Path]:
    """Locate the `configs` folder of every installed plugin package, cellbench's last.

    Packages are located by their entry points; none of them is imported.
    """
    found: dict[str, Path] = {}
    for name in sorted({point.module.partition(".")[0] for point in installed_plugins()}):
        try:
            spec = find_module(name)  # of a top-level package: imports nothing
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
    """Resolve `package:path` to a file; None for another kind of name.

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
    """Find the file of a config by its name.

    Args:
        name: a path, or a path below a `configs` folder, with or without `configs/` and `.py`;
            `package:path` for the one of a package.

    Raises:
        UserError: there is none; suggests the nearest names.
    """
    given = _packaged(str(name)) or Path(name)
    tries = [given]
    relative = Path(*given.parts[1:]) if given.parts[:1] == ("configs",) else given
    if not given.is_absolute():
        tries += [folder / relative for folder in config_folders()]
    files = [f for path in tries if path.name for f in (path, path.with_name(path.name + ".py"))]
    for file in filter(isfile, files):  # False for a name that no disk takes
        return file.resolve()
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


def load_file(path: Path) -> dict[str, Any]:
    """Return the values of `read_config`."""
    return read_config(path).values


def read_config(path: Path, below: tuple[Path, ...] = ()) -> ConfigFile:
    """Compose a config file and its bases into plain dicts.

    Args:
        path: config file.
        below: the files that name it as a base.

    Raises:
        UserError: the file does not run or is no plain data, a base is missing or not allowed, or
            two bases share a key.
    """
    from mmengine.config import Config

    data: list[str] = []
    if path.suffix == ".py":
        own, bases = _run(path, below)
    elif path.suffix in DATA_SUFFIXES:
        from cellbench.config.plain_data import read_data

        data, own = [path.name], read_data(path)
        named = own.pop(BASES, [])
        if named and below and below[-1].suffix == ".py":
            raise UserError(
                f"{path}: YAML and JSON that are the base of a .py config have no bases of their "
                "own; name them in the .py config."
            )
        bases = _read_bases(path, named, below)
    else:
        raise UserError(f"{path} is no config: these end in .py, .yaml, .yml or .json.")
    try:
        # mmengine's merge, so that `_delete_` has the same effect in data as in a program
        merged = Config(bases.values)
        merged.merge_from_dict({k: v for k, v in own.items() if not k.startswith("_")})
        values = merged.to_dict()
    except Exception as error:  # keys and values may conflict in any way
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit its bases ({reason}).") from None
    return ConfigFile(values, tuple(dict.fromkeys([*data, *bases.data])))


def _run(path: Path, below: tuple[Path, ...]) -> tuple[dict[str, Any], ConfigFile]:
    """Run a `.py` config, and return its variables and its bases, which it reads as `_base_`."""
    from mmengine.config import ConfigDict

    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named: Any = []
        for node in list(tree.body):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == BASES:
                named = eval(compile(ast.Expression(node.value), str(path), "eval"), {})
                tree.body.remove(node)
        program = compile(tree, str(path), "exec")
        bases = _read_bases(path, named, below)
        names: dict[str, Any] = {
            BASES: ConfigDict(copy.deepcopy(bases.values)),
            "__file__": str(path),
        }
        exec(program, names)
    except (KeyboardInterrupt, UserError):
        raise
    except BaseException as error:  # a config is Python: it may fail in any way, and may exit
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path} cannot be read as a config ({type(error).__name__}: {reason})."
        ) from None
    own = {k: v for k, v in names.items() if not isinstance(v, FunctionType | ModuleType)}
    return own, bases


def _read_bases(path: Path, named: Any, below: tuple[Path, ...]) -> ConfigFile:
    """Read the bases of a config and combine them; their keys must be disjoint.

    Args:
        path: file of the config.
        named: its `_base_`.
        below: the files that name it as a base.
    """
    values: dict[str, Any] = {}
    data: list[str] = []
    for base in named if isinstance(named, list | tuple) else [named]:
        if not isinstance(base, str) or not base or "\0" in base:
            raise UserError(f"{path}: a base is the name of a file, not {base!r}.")
        place = _find_base(path, base)
        if place in (path.resolve(), *below):
            raise UserError(f"{path}: {base!r} is a base of itself; take it out of {BASES}.")
        found = read_config(place, (*below, path.resolve()))
        shared = sorted(values.keys() & found.values.keys())
        if shared:
            raise UserError(f"{path}: two of its bases have the key {shared[0]!r}; take one out.")
        values |= found.values
        data += found.data
    return ConfigFile(values, tuple(data))


def _find_base(path: Path, named: str) -> Path:
    """Find the file of a config's base.

    Raises:
        UserError: it is missing; or a YAML or JSON config has as base a program that is not
            shipped, or a file outside its folder.
    """
    program, packaged = path.suffix == ".py", _packaged(named)
    shipped = config_folders()[-1].resolve()
    folders = (path.parent,) if program else (path.parent, shipped, shipped.parent)
    places = [packaged] if packaged else [(folder / named).resolve() for folder in folders]
    for place in filter(isfile, places):
        beside = place.is_relative_to(path.parent.resolve()) and place.suffix in DATA_SUFFIXES
        if program or beside or (place.is_relative_to(shipped) and place.suffix == ".py"):
            return place
    if program:
        raise UserError(
            f"{path}: the base {named!r} is not there; those of cellbench go by names such as "
            f"cellbench:methods/dla.py ({shipped})."
        )
    raise UserError(
        f"{path}: a YAML or JSON config may have as base one that is beside it or one that "
        f"cellbench ships ({shipped}), and {named!r} is neither; write a .py config for others."
    )
