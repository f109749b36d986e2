"""Find, read and validate grid files, which define the combinations of a comparison.

A grid file is a config in `configs/grids` that names one `base` config or a list of `methods`,
and `axes` whose values change dotted keys of it, as `--set` does:

    base = "methods/dla.py"
    axes = [
        dict(key="model.matcher.type", values=["Hungarian", "KHM"]),
        dict(name="size", values=[dict(label="small", set={"model.decoder.channels": 64})]),
    ]

A grid may include others instead: `grids = ["components", dict(grid="table3", splits=[0])]`; an
entry may replace the `datasets`, `splits`, `seeds` or `protocol` of the grid that it includes.

`variants` is one axis of named values. `layout` is the paper's table that the grid reproduces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import UserError
from cellbench.sweeps.grids import Factor, Grid, Level, overlap

WHERE = ("datasets", "splits", "seeds", "protocol")
KEYS = ("title", "layout", "base", "methods", "axes", "variants", "grids", *WHERE)
LAYOUTS = ("table2", "table3", "table4", "table5")


def find_grid(name: str) -> Path:
    """Return the file of a grid.

    Args:
        name: a path, or a name below `configs/grids`, with or without `configs/grids/` and `.py`.

    Raises:
        UserError: there is none; the message suggests the nearest names.
    """
    given = Path(name)
    parts = given.parts
    for prefix in ("configs", "grids"):
        parts = parts[1:] if parts[:1] == (prefix,) else parts
    tries = [given]
    if parts and not given.is_absolute():
        tries += [folder / "grids" / Path(*parts) for folder in config_folders()]
    for path in tries:
        for candidate in (path, path.with_name(path.name + ".py")):
            if candidate.name and candidate.is_file():
                return candidate.resolve()
    known = sorted({f.stem for d in config_folders() for f in (d / "grids").glob("*.py")})
    near = get_close_matches(given.stem, known, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
    raise UserError(f"There is no grid {name!r}; {hint}")


def load_grid(name: str) -> Grid:
    """Read a grid file and validate what does not depend on a dataset.

    Raises:
        UserError: the file is missing or invalid; names the file, and the axis if one is at fault.
    """
    return _load(name, ())


def _load(name: str, within: tuple[Path, ...]) -> Grid:
    """Load a grid; `within` are the files that include it, the outermost first."""
    file = find_grid(name)
    if file in within:
        raise UserError(f"{within[-1]}: the grid {name!r} includes itself; take it out of 'grids'.")
    if file.suffix != ".py":  # a grid names configs, which are programs, and may set any option
        raise UserError(f"{file}: a grid is a .py file, and not data; rename it if it is Python.")
    raw = load_file(file)
    try:
        return _composed(file, raw, within) if "grids" in raw else _grid(file, raw)
    except _Invalid as error:
        raise UserError(f"{file.name}: {error}") from None


class _Invalid(Exception):
    """An error in a grid file; the message lacks the name of the file."""


def _composed(file: Path, raw: Mapping[str, Any], within: tuple[Path, ...]) -> Grid:
    """Build a grid from the grids that it includes, nested ones flattened."""
    for key in raw:
        if key not in ("title", "grids"):
            raise _Invalid(f"a grid of grids has 'title' and 'grids', and no {key!r}.")
    parts: list[Grid] = []
    for entry in _list(raw, "grids"):
        given = {"grid": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or not isinstance(given.get("grid"), str):
            raise _Invalid(f"a part of 'grids' is a name or dict(grid=...), not {entry!r}.")
        for key in given:
            if key not in ("grid", *WHERE):
                raise _Invalid(f"a part of 'grids' has 'grid', {', '.join(WHERE)}, and no {key!r}.")
        where = _parse_scope(given)
        part = _load(given["grid"], (*within, file))
        parts += [replace(simple, **where) for simple in part.simple]
    if not parts:
        raise _Invalid("there is nothing to compare; give 'grids' at least one name.")
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise _Invalid(f"the grid {name!r} is included twice; its report would replace itself.")
    title = str(raw.get("title", file.stem))
    return Grid(file.stem, file, title, None, "", (), parts=tuple(parts))


def _grid(file: Path, raw: Mapping[str, Any]) -> Grid:
    for key in raw:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a grid has {', '.join(KEYS)}."
            raise _Invalid(f"a grid has no {key!r}; {hint}")
    base, methods = raw.get("base", ""), raw.get("methods")
    if bool(base) == bool(methods) or not isinstance(base, str):
        raise _Invalid("a grid names one config as 'base', or a list of them as 'methods'.")
    factors = [] if methods is None else [_methods(methods)]
    factors += [_axis(axis, index) for index, axis in enumerate(_list(raw, "axes"))]
    if "variants" in raw:
        factors.append(_axis({"name": "variant", "values": _list(raw, "variants")}, 0))
    if not factors:
        raise _Invalid("there is nothing to compare; give it 'axes', 'variants' or 'methods'.")
    _check_disjoint(factors)
    layout = raw.get("layout")
    if layout is not None and layout not in LAYOUTS:
        raise _Invalid(f"layout is one of {', '.join(LAYOUTS)}, not {layout!r}.")
    return Grid(
        name=file.stem,
        file=file,
        title=str(raw.get("title", file.stem)),
        layout=layout,
        base=base,
        factors=tuple(factors),
        **_parse_scope(raw),
    )


def _parse_scope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the datasets, splits, seeds and protocol, as far as they are given."""
    found: dict[str, Any] = {}
    for key in ("splits", "seeds"):
        values = raw.get(key)
        if values is not None:
            if not isinstance(values, list | tuple) or not all(type(v) is int for v in values):
                raise _Invalid(f"{key} is a list of whole numbers, not {values!r}.")
            found[key] = tuple(values)
    if "datasets" in raw:
        found["datasets"] = tuple(str(name) for name in _list(raw, "datasets"))
    for key, values in found.items():
        if not values:
            raise _Invalid(f"{key} is empty; give it a value, or leave it out.")
    if "protocol" in raw:
        found["protocol"] = str(raw["protocol"])
    return found


def _list(raw: Mapping[str, Any], key: str) -> Sequence[Any]:
    values = raw.get(key, [])
    if not isinstance(values, list | tuple):
        raise _Invalid(f"{key} is a list, not {values!r}.")
    return values


def _methods(methods: Any) -> Factor:
    if not isinstance(methods, list | tuple):
        raise _Invalid(f"methods is a list of configs, not {methods!r}.")
    levels = []
    for entry in methods:
        if isinstance(entry, Mapping) and {"label", "config"} == entry.keys():
            levels.append(Level(str(entry["label"]), str(entry["config"])))
        elif isinstance(entry, str):
            levels.append(Level(Path(entry).stem, entry))
        else:
            raise _Invalid(f"a method is a config's name or dict(label=, config=), not {entry!r}.")
    return _factor("method", levels)


def _axis(axis: Any, index: int) -> Factor:
    if not isinstance(axis, Mapping) or not {"name", "key"} & axis.keys() or "values" not in axis:
        raise _Invalid(f"axes.{index} is a dict with 'key' or 'name', and 'values', not {axis!r}.")
    for given in axis:
        if given not in ("key", "name", "values"):
            raise _Invalid(f"axes.{index} has no {given!r}; it has 'key', 'name' and 'values'.")
    key = axis.get("key")
    name = str(axis.get("name") or _short(str(key)))
    if not isinstance(axis["values"], list | tuple):
        raise _Invalid(f"the values of axis {name!r} are a list, not {axis['values']!r}.")
    return _factor(name, [_level(name, key, value) for value in axis["values"]])


def _level(name: str, key: str | None, value: Any) -> Level:
    if isinstance(value, Mapping) and {"label", "set"} == value.keys():
        if not isinstance(value["set"], Mapping):
            raise _Invalid(f"{name}: 'set' is a dict of dotted keys, not {value['set']!r}.")
        return Level(str(value["label"]), changes=tuple(value["set"].items()))
    if key is None:
        raise _Invalid(f"the axis {name!r} has no key: its values are dict(label=, set=).")
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    label = shown if isinstance(value, str) else f"{key.rpartition('.')[2]}={shown}"
    return Level(label, changes=((key, value),))


def _short(key: str) -> str:
    """Return the part of a dotted key that names an axis: the parent's for a `type`."""
    parent, _, last = key.rpartition(".")
    return parent.rpartition(".")[2] if last == "type" and parent else last


def _factor(name: str, levels: Sequence[Level]) -> Factor:
    if not levels:
        raise _Invalid(f"the axis {name!r} is empty; give it at least one value.")
    labels = [level.label for level in levels]
    for label in labels:
        if not label.strip():
            raise _Invalid(f"the axis {name!r} has a value without a label; name it.")
        if labels.count(label) > 1:
            raise _Invalid(f"the axis {name!r} has two values called {label!r}; rename one.")
    return Factor(name, tuple(levels))


def _check_disjoint(factors: Sequence[Factor]) -> None:
    """Reject axes of the same name, and axes that set the same or nested keys."""
    names = [factor.name for factor in factors]
    for name in names:
        if names.count(name) > 1:
            raise _Invalid(f"two axes are called {name!r}; rename one.")
    owner: dict[str, str] = {}
    for factor in factors:
        for key in sorted({key for level in factor.levels for key, _ in level.changes}):
            for other, by in owner.items():
                if by == factor.name:
                    continue
                if overlap(key, other):
                    both = key if key == other else f"{other} and {key}"
                    raise _Invalid(
                        f"the axes {by!r} and {factor.name!r} both set {both}; a key belongs to "
                        "one axis."
                    )
            owner[key] = factor.name
