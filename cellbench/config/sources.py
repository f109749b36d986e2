"""Config files: where they are found, and how they are read.

A `.py` config is a program: it runs because the user typed its name, or a `.py` file that the user
typed names it as a base. YAML and JSON configs are data, which may come from anyone: no tag of
theirs is followed, their size and depth are limited, and what they may name as a base is data in
their own folder or a config that cellbench ships.
"""

import ast
import copy
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cellbench.errors import UserError

BASES = "_base_"
DATA_SUFFIXES = (".yaml", ".yml", ".json")


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
    """Where configs are looked for: the working folder's own first, then those shipped."""
    package = Path(__file__).parents[1]
    shipped = package / "configs"  # in a wheel
    if not shipped.is_dir():
        shipped = package.parent / "configs"  # in a checkout
    return [Path.cwd() / "configs", shipped]


def find_config(name: str | Path) -> Path:
    """The file that a user means by a config's name.

    Args:
        name: a path, or a path below a `configs` folder, with or without `configs/` and `.py`.

    Raises:
        UserError: there is none; the nearest names are offered.
    """
    given = Path(name)
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


def _read(path: Path) -> ConfigFile:
    if path.suffix in DATA_SUFFIXES:
        return _compose_data(path)
    if path.suffix != ".py":
        raise UserError(f"{path} is no config: these end in .py, .yaml, .yml or .json.")
    return _run_program(path)


def _compose_data(path: Path, below: tuple[Path, ...] = ()) -> ConfigFile:
    """A YAML or JSON config over its bases.

    Args:
        path: of the file.
        below: the files that name it as a base.
    """
    from mmengine.config import Config

    from cellbench.config.plain_data import read_data

    own = read_data(path)
    named = own.pop(BASES, [])
    bases = named if isinstance(named, list) else [named]
    composed: dict[str, Any] = {}
    data = [path.name]
    for base in bases:
        place = _base_of_data(path, base)
        if place == path or place in below:
            raise UserError(f"{path}: {base!r} is a base of itself; take it out of {BASES}.")
        if place.suffix == ".py":
            found = _run_program(place)
        else:
            found = _compose_data(place, (*below, path))
        shared = sorted(composed.keys() & found.values.keys())
        if shared:
            raise UserError(f"{path}: two of its bases have the key {shared[0]!r}; take one out.")
        composed |= found.values
        data += found.data
    try:
        # mmengine's merge, so that `_delete_` does in data what it does in a program
        merged = Config(composed)
        merged.merge_from_dict(own)
        values = merged.to_dict()
    except Exception as error:  # keys and values of data may meet in any way
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit its bases ({reason}).") from None
    return ConfigFile(_public(values), tuple(data))


def _base_of_data(path: Path, named: Any) -> Path:
    """The file that data name as a base, if they may.

    Raises:
        UserError: it is not there, a program that is not shipped, or outside the folder of `path`.
    """
    if not isinstance(named, str) or not named or "\0" in named:
        raise UserError(f"{path}: a base is the name of a file, not {named!r}.")
    shipped = config_folders()[-1].resolve()
    for folder in (path.parent, shipped, shipped.parent):
        place = (folder / named).resolve()
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


def _run_program(path: Path) -> ConfigFile:
    """Run a `.py` config and compose it with its bases, as mmengine does."""
    from mmengine.config import Config

    data = _data_bases(path)
    _read_data_safely()
    _data_read.clear()
    with warnings.catch_warnings():
        # mmengine leaves its copy of a program that fails open until the failure is forgotten.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            composed = Config.fromfile(path, import_custom_modules=False).to_dict()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a config is Python: it may fail in any way, and may exit
            failure = _failure(path, error)
            traceback.clear_frames(error.__traceback__)
            raise failure from None
    return ConfigFile(_public(composed), tuple(dict.fromkeys([*data, *_data_read])))


def _failure(path: Path, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        shipped = config_folders()[-1]
        return UserError(
            f"{path}: a base is not there ({error}); the shipped bases are in {shipped}."
        )
    if isinstance(error, UserError):
        return UserError(f"{path} cannot be read as a config: {error}")
    reason = " ".join(str(error).split())[:300]
    return UserError(f"{path} cannot be read as a config ({type(error).__name__}: {reason}).")


def _public(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _data_bases(path: Path, seen: frozenset[Path] = frozenset()) -> list[str]:
    """Names of the YAML and JSON files that a program has as bases, each of them checked.

    Bases that are no literals are left to `_read_data_safely`.

    Raises:
        UserError: one of them is no plain data, or has bases itself.
    """
    from cellbench.config.plain_data import read_data

    found: list[str] = []
    for name in _literal_bases(path):
        base = (path.parent / name).resolve()
        if base.suffix in DATA_SUFFIXES and _is_file(base):
            _without_bases(read_data(base), str(base))
            found.append(base.name)
        elif base.suffix == ".py" and base not in seen and _is_file(base):
            found += _data_bases(base, seen | {base})
    return found


def _literal_bases(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == BASES:
                named = ast.literal_eval(node.value)
                names = named if isinstance(named, list) else [named]
                return [n for n in names if isinstance(n, str) and n and "\0" not in n]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # running it gives the reason
    return []


# Kinds of data that mmengine has read since a program was started.
_data_read: list[str] = []


def _read_data_safely() -> None:
    """Have mmengine read YAML and JSON as data: its own reader of YAML follows tags to any call."""
    from mmengine.fileio import BaseFileHandler, register_handler
    from mmengine.fileio.handlers.registry_utils import file_handlers

    from cellbench.config.plain_data import parse_data

    if getattr(file_handlers.get("yaml"), "reads_plain_data", False):
        return

    class PlainData(BaseFileHandler):
        reads_plain_data = True

        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        def load_from_fileobj(self, file: Any, **_: Any) -> dict[str, Any]:
            name = f"a {self.suffix} base"
            _data_read.append(name)
            return _without_bases(parse_data(file.read(), self.suffix, name), name)

        def dump_to_fileobj(self, obj: Any, file: Any, **_: Any) -> None:
            raise NotImplementedError("configs are not written in this form")

        def dump_to_str(self, obj: Any, **_: Any) -> str:
            raise NotImplementedError("configs are not written in this form")

    for suffix in DATA_SUFFIXES:
        register_handler(suffix.removeprefix("."), suffix=suffix)(PlainData)


def _without_bases(values: dict[str, Any], name: str) -> dict[str, Any]:
    if BASES in values:
        raise UserError(
            f"{name}: YAML and JSON that are the base of a .py config have no bases of their own; "
            f"name them in the .py config."
        )
    return values
