"""From a grid's combinations to complete configs, and the commands that make the same ones."""

import ast
import functools
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cellbench.config.compose import find_config, read_overrides, resolve
from cellbench.config.run_length import with_length
from cellbench.config.schema import ResolvedConfig
from cellbench.config.sources import read_config
from cellbench.errors import UserError
from cellbench.sweeps.grids import Cell, Grid, overlap

Resolve = Callable[..., ResolvedConfig]
"""The config of a name on a set, with changes as `--set` takes them beside those of all."""


@dataclass(frozen=True, slots=True)
class GridOverrides:
    """Values of the command line that replace the grid's; None and empty keep the grid's.

    Attributes:
        datasets: names, real or simulated.
        splits: numbers.
        seeds: numbers.
        protocol: name.
        epochs: of every run.
        budget_s: seconds that every run fits its steps to.
        overrides: "dotted.key=value" that every combination takes, beside what the grid varies.
        share: (I, N) for the I-th of N shares of the runs, from 1; None for all.
    """

    datasets: tuple[str, ...] = ()
    splits: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    protocol: str = ""
    epochs: int | None = None
    budget_s: float | None = None
    overrides: tuple[str, ...] = ()
    share: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Combination:
    """A cell of a grid on one set.

    Attributes:
        config: complete.
        command: of `cellbench run`, without split and seed.
    """

    config: ResolvedConfig
    command: str


Combinations = dict[tuple[Cell, str], Combination]
"""By cell and name of the set."""


def combine(
    grid: Grid, datasets: Sequence[str], overrides: GridOverrides, notes: list[str]
) -> Combinations:
    """Resolve every cell of a grid on every set.

    Args:
        grid: what is compared.
        datasets: names.
        overrides: of the command line.
        notes: gets a sentence for every method that cannot be had; the others go on.

    Raises:
        UserError: a key of an axis does not exist, its value is not allowed, or the command line
            changes what an axis varies.
    """
    _check_apart(grid, overrides.overrides)
    read = functools.cache(read_config)  # one file serves many combinations

    @functools.cache
    def resolved(config: str, dataset: str, *changes: str) -> ResolvedConfig:
        given = (*overrides.overrides, *changes)
        return resolve(config, dataset=dataset, overrides=given, read=read)

    cells = _usable_cells(grid, notes)
    if grid.base:
        for name in datasets:
            resolved(grid.base, name)  # what is wrong already here is no combination's
    return {
        (cell, name): found
        for cell in cells
        for name in datasets
        if (found := _combination(grid, cell, name, overrides, resolved, notes)) is not None
    }


def _check_apart(grid: Grid, overrides: Sequence[str]) -> None:
    """What the command line changes must not be what the grid varies."""
    for key in read_overrides(overrides):
        for factor in grid.factors:
            for varied in (varied for level in factor.levels for varied, _ in level.changes):
                if overlap(varied, key):
                    raise UserError(
                        f"--set {key}: the axis {factor.name!r} of {grid.file.name} varies "
                        f"{varied}; set a key that no axis varies."
                    )


def _usable_cells(grid: Grid, notes: list[str]) -> list[Cell]:
    """The combinations whose config is there; a method that is not yet is one sentence."""
    usable = []
    for cell in grid.cells():
        try:
            find_config(cell.config)
        except UserError as error:
            if grid.base:
                raise UserError(f"{grid.file.name}: {error}") from None
            notes.append(f"{cell.label} is left out: there is no config {cell.config!r}.")
            continue
        usable.append(cell)
    return usable


def _combination(
    grid: Grid,
    cell: Cell,
    dataset: str,
    overrides: GridOverrides,
    resolved: Resolve,
    notes: list[str],
) -> Combination | None:
    """A cell on a set; None, with a note, for a method that the set does not suit."""
    try:
        config, changes = _changed(cell, dataset, resolved)
    except UserError as error:
        said = str(error).removeprefix("--set ")
        if grid.base:
            raise UserError(f"{grid.file.name}: {cell.label}: {said}") from None
        notes.append(f"{cell.label} is left out on {dataset}: {said}")
        return None
    options = [text for change in (*overrides.overrides, *changes) for text in ("--set", change)]
    if overrides.epochs is not None:
        options += ["--epochs", str(overrides.epochs)]
    if overrides.budget_s is not None:
        options += ["--budget", f"{overrides.budget_s:g}s"]
    config = with_length(config, epochs=overrides.epochs, budget_s=overrides.budget_s)
    words = ["cellbench", "run", cell.config, "--dataset", dataset, *options]
    return Combination(config, shlex.join(words))


def _changed(cell: Cell, dataset: str, resolved: Resolve) -> tuple[ResolvedConfig, list[str]]:
    """The config of a combination, and what it changes of the base, as `--set` takes it.

    What changes nothing is left out: a combination that is a config as it stands keeps its name,
    and so its records; and two grids that mean one combination share its runs.
    """
    config = resolved(cell.config, dataset)
    texts: dict[str, str] = {}
    while True:
        plain = config.plain()
        differing = {
            key: f"{key}={_text(value)}"
            for key, value in cell.changes
            if key not in texts and _value(plain, key) != _jsonable(value)
        }
        if not differing:
            return config, list(texts.values())
        # Again, as a swapped part may have forgotten what the base had given to the old one.
        texts |= differing
        config = resolved(cell.config, dataset, *texts.values())


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, dict) and part in config:
            config = config[part]
        else:
            return _ABSENT
    return config


_ABSENT = object()


def _text(value: Any) -> str:
    """A value as `--set` reads it back."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def unequal(grid: Grid, combinations: Combinations, overrides: GridOverrides) -> list[str]:
    """Where the combinations of a base do not get the same number of steps."""
    if overrides.budget_s is not None:
        return [
            "With --budget every run fits its own number of steps: the time is equal, the steps "
            "are not; --epochs N makes them so."
        ]
    if not grid.base:
        return []
    lengths: dict[str, set[tuple[int, int, int]]] = {}
    for (_, name), found in combinations.items():
        data = found.config.data
        lengths.setdefault(name, set()).add((data.epochs, data.batch_size, data.crops_per_image))
    return [
        f"On {name} the combinations do not train for the same number of steps: the grid changes "
        "data.epochs, data.batch_size or data.crops_per_image."
        for name, kinds in lengths.items()
        if len(kinds) > 1
    ]
