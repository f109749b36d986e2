"""What a grid has measured on one set: its cells, their runs, and their average errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cellbench.ranking.rows import Row, experiment_rows
from cellbench.ranking.statistics import ImageErrors, image_errors
from cellbench.records.summaries import Run

Levels = tuple[tuple[str, str], ...]

# The order in which the literature lists the sets; others follow by name.
_ORDER = ("adi", "mbm", "vgg", "nuclei", "dcc")


@dataclass(frozen=True, slots=True)
class GridRun:
    """A finished run and its place in a grid.

    Attributes:
        levels: (factor, label) in the order of the grid.
        run: what its record says.
    """

    levels: Levels
    run: Run


@dataclass(frozen=True)
class GridResults:
    """The cells of a grid on one set under one protocol, on the splits that all of them have.

    Attributes:
        dataset: name of the set.
        protocol: name.
        simulated: whether its images are.
        cells: the levels of each.
        runs: of each cell, those of the compared splits.
        left_out: one sentence for every run or cell that is not compared.
    """

    dataset: str
    protocol: str
    simulated: bool
    cells: tuple[Levels, ...]
    runs: tuple[tuple[Run, ...], ...]
    left_out: tuple[str, ...]

    @cached_property
    def errors(self) -> ImageErrors:
        """Of the cells, in their order."""
        return image_errors(self.runs)

    @cached_property
    def rows(self) -> list[Row]:
        """Of the cells, in their order, each with its intervals and departures."""
        return experiment_rows(self.runs)

    @property
    def title(self) -> str:
        """For people."""
        shown = self.dataset.upper() if self.dataset in _ORDER else self.dataset
        return shown if self.protocol == "v1" else f"{shown}, protocol {self.protocol}"

    def labels(self) -> list[str]:
        """Of the cells."""
        return [label_of(cell) for cell in self.cells]


def label_of(levels: Levels) -> str:
    """The labels of a cell, for people."""
    return " / ".join(label for _, label in levels)


def measured_sets(runs: Sequence[GridRun]) -> list[GridResults]:
    """Sort the runs of a grid by set and protocol, and find what can be compared.

    Returns:
        ADI, MBM, VGG, DCC, then other sets by name; empty without runs.
    """
    groups: dict[tuple[str, str], list[GridRun]] = {}
    for entry in runs:
        groups.setdefault((entry.run.dataset, entry.run.protocol), []).append(entry)
    return [_measured(groups[key]) for key in sorted(groups, key=_place)]


def _place(key: tuple[str, str]) -> tuple[int, str, str]:
    dataset, protocol = key
    known = dataset.removesuffix("-sim")
    return (_ORDER.index(known) if known in _ORDER else len(_ORDER), dataset, protocol)


def _measured(runs: Sequence[GridRun]) -> GridResults:
    by_cell: dict[Levels, list[Run]] = {}
    for entry in runs:
        own = by_cell.setdefault(entry.levels, [])
        if entry.run.run_id not in {run.run_id for run in own}:
            own.append(entry.run)
    splits = [{run.split for run in own} for own in by_cell.values()]
    shared = set.intersection(*splits)
    if not shared:
        count = Counter(split for own in splits for split in own)
        shared = {min(count, key=lambda split: (-count[split], split))}
    kept, left_out = {}, []
    for cell, own in by_cell.items():
        compared = tuple(run for run in own if run.split in shared)
        more = {run.split for run in own} - shared
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
