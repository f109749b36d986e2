"""Results of a grid on one dataset: its cells, their runs, and their average errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cellbench.ranking.rows import Row, experiment_rows
from cellbench.ranking.statistics import ImageErrors, image_errors
from cellbench.records.summaries import Run

Levels = tuple[tuple[str, str], ...]

# Order of the datasets in the literature; others follow by name.
_ORDER = ("adi", "mbm", "vgg", "nuclei", "dcc")


@dataclass(frozen=True, slots=True)
class GridRun:
    """A finished run and its place in a grid.

    Attributes:
        levels: (factor, label) in the order of the grid.
        run: summary of its record.
    """

    levels: Levels
    run: Run


@dataclass(frozen=True)
class GridResults:
    """Results of a grid on one dataset under one protocol, on the splits that its cells share.

    Attributes:
        dataset: dataset name.
        protocol: protocol name.
        simulated: whether the images are simulated.
        cells: levels of each cell.
        runs: runs of each cell on the compared splits.
        left_out: one sentence for every cell or split that is not compared.
    """

    dataset: str
    protocol: str
    simulated: bool
    cells: tuple[Levels, ...]
    runs: tuple[tuple[Run, ...], ...]
    left_out: tuple[str, ...]

    @cached_property
    def errors(self) -> ImageErrors:
        """Average errors of the cells, in their order."""
        return image_errors(self.runs)

    @cached_property
    def rows(self) -> list[Row]:
        """Leaderboard rows of the cells, in their order, with intervals and notes."""
        return experiment_rows(self.runs)

    @property
    def title(self) -> str:
        """Dataset name, and the protocol unless it is v1, for display."""
        shown = self.dataset.upper() if self.dataset in _ORDER else self.dataset
        return shown if self.protocol == "v1" else f"{shown}, protocol {self.protocol}"

    def labels(self) -> list[str]:
        """Return the labels of the cells."""
        return [label_of(cell) for cell in self.cells]


def label_of(levels: Levels) -> str:
    """Join the labels of a cell, for display."""
    return " / ".join(label for _, label in levels)


def measured_sets(runs: Sequence[GridRun]) -> list[GridResults]:
    """Group the runs of a grid by dataset and protocol, and select the splits to compare.

    These are the splits that all cells share; if there are none, the most common split.

    Returns:
        ADI, MBM, VGG, nuclei, DCC, then other datasets by name; empty without runs.
    """
    groups: dict[tuple[str, str], list[GridRun]] = {}
    for entry in runs:
        groups.setdefault((entry.run.dataset, entry.run.protocol), []).append(entry)
    return [_group_results(groups[key]) for key in sorted(groups, key=_order_key)]


def _order_key(key: tuple[str, str]) -> tuple[int, str, str]:
    dataset, protocol = key
    known = dataset.removesuffix("-sim")
    return (_ORDER.index(known) if known in _ORDER else len(_ORDER), dataset, protocol)


def _group_results(runs: Sequence[GridRun]) -> GridResults:
    by_cell: dict[Levels, list[Run]] = {}
    for entry in runs:
        cell_runs = by_cell.setdefault(entry.levels, [])
        if entry.run.run_id not in {run.run_id for run in cell_runs}:
            cell_runs.append(entry.run)
    splits = [{run.split for run in cell_runs} for cell_runs in by_cell.values()]
    shared = set.intersection(*splits)
    if not shared:
        count = Counter(split for cell_splits in splits for split in cell_splits)
        shared = {min(count, key=lambda split: (-count[split], split))}
    kept, left_out = {}, []
    for cell, cell_runs in by_cell.items():
        compared = tuple(run for run in cell_runs if run.split in shared)
        more = {run.split for run in cell_runs} - shared
        if not compared:
            missing = ", ".join(map(str, sorted(shared)))
            left_out.append(f"{label_of(cell)} has no run of split {missing}.")
            continue
        if more:
            listed = ", ".join(map(str, sorted(more)))
            left_out.append(f"{label_of(cell)} also ran on split {listed}, which others lack.")
        kept[cell] = compared
    first = runs[0].run
    return GridResults(
        dataset=first.dataset,
        protocol=first.protocol,
        simulated=first.simulated,
        cells=tuple(kept),
        runs=tuple(kept.values()),
        left_out=tuple(left_out),
    )
