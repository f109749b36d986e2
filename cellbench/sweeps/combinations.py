"""Complete config and equivalent `cellbench run` command of every combination of a grid."""

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
"""Resolves a config on a dataset, given the changes of one combination in `--set` syntax."""


@dataclass(frozen=True, slots=True)
class GridOverrides:
    """Values of the command line that replace the grid's; None and empty keep the grid's.

    Attributes:
        datasets: names of real or simulated datasets.
        splits: split numbers.
        seeds: seeds.
        protocol: protocol name.
        epochs: epochs of every run.
        budget_s: time in seconds to which every run fits its number of steps.
        overrides: "dotted.key=value" changes of every combination, besides what the grid varies.
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
    """A cell of a grid on one dataset.

    Attributes:
        config: complete config.
        command: `cellbench run` command line, without split and seed.
    """

    config: ResolvedConfig
    command: str


Combinations = dict[tuple[Cell, str], Combination]
"""Combinations by cell and dataset name."""


def combine(
    grid: Grid, datasets: Sequence[str], overrides: GridOverrides, notes: list[str]
) -> Combinations:
    """Resolve every cell of a grid on every dataset.

    Args:
        grid: the grid.
        datasets: dataset names.
        overrides: values of the command line.
        notes: receives a sentence for every method that is left out.

    Raises:
        UserError: a key of an axis does not exist, its value is not allowed, or the command line
            changes what an axis varies.
    """
    _check_not_varied(grid, overrides.overrides)
    read = functools.cache(read_config)  # one file serves many combinations

    @functools.cache
    def resolved(config: str, dataset: str, *changes: str) -> ResolvedConfig:
        given = (*overrides.overrides, *changes)
        return resolve(config, dataset=dataset, overrides=given, read=read)

    cells = _usable_cells(grid, notes)
    if grid.base:
        for name in datasets:
            resolved(grid.base, name)  # its errors belong to no combination
    return {
        (cell, name): found
        for cell in cells
        for name in datasets
        if (found := _combination(grid, cell, name, overrides, resolved, notes)) is not None
    }


def _check_not_varied(grid: Grid, overrides: Sequence[str]) -> None:
    """Reject a key of the command line that an axis of the grid varies."""
    for key in read_overrides(overrides):
        for factor in grid.factors:
            for varied in (varied for level in factor.levels for varied, _ in level.changes):
                if overlap(varied, key):
                    raise UserError(
                        f"--set {key}: the axis {factor.name!r} of {grid.file.name} varies "
                        f"{varied}; set a key that no axis varies."
                    )


def _usable_cells(grid: Grid, notes: list[str]) -> list[Cell]:
    """Return the cells whose config exists; a missing method adds a note, a missing base raises."""
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
    """Resolve a cell on a dataset; None, with a note, if a method cannot run on it."""
    try:
        config, changes = _resolve_cell(cell, dataset, resolved)
    except UserError as error:
        reason = str(error).removeprefix("--set ")
        if grid.base:
            raise UserError(f"{grid.file.name}: {cell.label}: {reason}") from None
        notes.append(f"{cell.label} is left out on {dataset}: {reason}")
        return None
    options = [text for change in (*overrides.overrides, *changes) for text in ("--set", change)]
    if overrides.epochs is not None:
        options += ["--epochs", str(overrides.epochs)]
    if overrides.budget_s is not None:
        options += ["--budget", f"{overrides.budget_s:g}s"]
    config = with_length(config, epochs=overrides.epochs, budget_s=overrides.budget_s)
    arguments = ["cellbench", "run", cell.config, "--dataset", dataset, *options]
    return Combination(config, shlex.join(arguments))


def _resolve_cell(cell: Cell, dataset: str, resolved: Resolve) -> tuple[ResolvedConfig, list[str]]:
    """Return the config of a cell and its changes of the base, in `--set` syntax.

    Changes without effect are left out, so that a combination equal to an existing config keeps
    its name and its records, and grids that contain the same combination share its runs.
    """
    config = resolved(cell.config, dataset)
    texts: dict[str, str] = {}
    while True:
        plain = config.plain()
        differing = {
            key: f"{key}={_format_value(value)}"
            for key, value in cell.changes
            if key not in texts and _lookup(plain, key) != _jsonable(value)
        }
        if not differing:
            return config, list(texts.values())
        # Resolve again: replacing a part drops the base's options of the old one.
        texts |= differing
        config = resolved(cell.config, dataset, *texts.values())


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _lookup(config: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, dict) and part in config:
            config = config[part]
        else:
            return _MISSING
    return config


_MISSING = object()


def _format_value(value: Any) -> str:
    """Format a value so that `--set` parses it to the same value."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def unequal_schedules(
    grid: Grid, combinations: Combinations, overrides: GridOverrides
) -> list[str]:
    """Return notes about combinations that train for unequal numbers of steps."""
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
