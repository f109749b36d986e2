"""Plan of a comparison: every run of a grid and its state. Never imports torch."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cellbench.errors import UserError
from cellbench.experiment import Experiment
from cellbench.records.finished import FinishedRuns
from cellbench.records.summaries import Run
from cellbench.sweeps.claims import holder_of
from cellbench.sweeps.combinations import Combination, GridOverrides, combine, unequal_schedules
from cellbench.sweeps.estimates import Speeds
from cellbench.sweeps.failures import Failure, read_failure
from cellbench.sweeps.grids import Cell, Grid
from cellbench.sweeps.sets import DatasetAvailability, find_sets


class State(Enum):
    """State of a run; the values are the words that the plan prints."""

    DONE = "done"
    MISSING = "missing"
    FAILED = "failed"
    ELSEWHERE = "running elsewhere"
    NO_SET = "without their set"


@dataclass(slots=True)
class PlannedRun:
    """One training of one combination on one split with one seed.

    Attributes:
        label: name for display.
        experiment: what determines its result; weights and steps are not known yet.
        folder: folder of its claim, log and failure.
        command: command line of the same run alone.
        state: state of the run.
        record: summary of its record if it is finished.
        failure: its failure if it failed.
        estimate_s: estimated duration; None without a comparable finished run.
    """

    label: str
    experiment: Experiment
    folder: Path
    command: str
    state: State = State.MISSING
    record: Run | None = None
    failure: Failure | None = None
    estimate_s: float | None = None

    @property
    def dataset(self) -> str:
        """Dataset name."""
        return self.experiment.config.data.set


@dataclass(slots=True)
class PlanPart:
    """A grid with factors, alone or as a part of a composed one.

    Attributes:
        grid: the grid.
        sets: datasets, usable or not, in the order requested.
        protocol: protocol name.
        cells: runs by combination and dataset name; combinations and parts may share runs.
    """

    grid: Grid
    sets: list[DatasetAvailability]
    protocol: str
    cells: dict[tuple[Cell, str], list[PlannedRun]] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """All runs of a comparison.

    Attributes:
        grid: the grid.
        store: folder of runs and records.
        parts: the grids with factors.
        sets: datasets of all parts.
        runs: every run once, in the order of their start: all combinations of a split before the
            next split, so that the finished ones can be compared at any time. With a share, only
            its runs.
        finished: the finished runs of the store.
        notes: sentences about what is left out or unequal.
        budgeted: whether the number of steps follows from a time budget.
    """

    grid: Grid
    store: Path
    parts: list[PlanPart]
    sets: list[DatasetAvailability]
    runs: list[PlannedRun]
    finished: FinishedRuns
    notes: list[str] = field(default_factory=list)
    budgeted: bool = False

    def in_state(self, state: State) -> list[PlannedRun]:
        """Return the runs in a state."""
        return [run for run in self.runs if run.state is state]


def make_plan(grid: Grid, overrides: GridOverrides, store: Path) -> Plan:
    """Resolve every combination of a grid and determine the state of its runs.

    Raises:
        UserError: a key that does not exist, an unknown dataset or protocol, or no usable
            combination.
    """
    notes: list[str] = []
    parts, combined = [], []
    for simple in grid.simple:
        protocol = overrides.protocol or simple.protocol
        splits = overrides.splits or simple.splits
        sets = find_sets(overrides.datasets or simple.datasets, protocol=protocol, splits=splits)
        combinations = combine(simple, [stored.name for stored in sets], overrides, notes)
        notes += unequal_schedules(simple, combinations, overrides)
        parts.append(PlanPart(simple, sets, protocol))
        combined.append(combinations)
    sets = list({stored.name: stored for part in parts for stored in part.sets}.values())
    finished = FinishedRuns(store, [stored.name for stored in sets if not stored.problem])
    runs: dict[tuple[str, str, int, int], PlannedRun] = {}
    for seed, split in _seeds_and_splits(grid, overrides):
        for part, combinations in zip(parts, combined, strict=True):
            if split not in (overrides.splits or part.grid.splits):
                continue
            if seed not in (overrides.seeds or part.grid.seeds):
                continue
            for stored in part.sets:
                for cell in part.grid.cells():
                    found = combinations.get((cell, stored.name))
                    if found is None:
                        continue
                    run = runs.setdefault(
                        (found.config.hash, part.protocol, split, seed),
                        _planned_run(store, cell, found, stored, part.protocol, split, seed),
                    )
                    part.cells.setdefault((cell, stored.name), []).append(run)
    if not runs:
        raise UserError(notes[0] if notes else f"{grid.file.name}: there is nothing to compare.")
    first, every = overrides.share or (1, 1)
    plan = Plan(
        grid,
        store,
        parts,
        sets,
        list(runs.values())[first - 1 :: every],
        finished,
        list(dict.fromkeys(notes)),
        overrides.budget_s is not None,
    )
    update_states(plan)
    return plan


def _seeds_and_splits(grid: Grid, overrides: GridOverrides) -> list[tuple[int, int]]:
    """Return the (seed, split) pairs of all parts, in the order in which they are run."""
    draws = {
        (seed, split)
        for part in grid.simple
        for seed in overrides.seeds or part.seeds
        for split in overrides.splits or part.splits
    }
    return sorted(draws)


def update_states(plan: Plan) -> None:
    """Update state, record, failure and estimated duration of every run of a plan."""
    speeds = Speeds(plan.finished.runs)
    unusable = {stored.name for stored in plan.sets if stored.problem}
    # Includes runs of other shares, since reports contain all finished runs.
    every = {id(run): run for part in plan.parts for runs in part.cells.values() for run in runs}
    for run in every.values():
        if run.dataset in unusable:
            run.state = State.NO_SET
            continue
        run.record = plan.finished.find(run.experiment.key)
        run.failure = read_failure(run.folder) if run.record is None else None
        if run.record is not None:
            run.state = State.DONE
        elif holder_of(run.folder) is not None:
            run.state = State.ELSEWHERE
        else:
            run.state = State.MISSING if run.failure is None else State.FAILED
        run.estimate_s = speeds.estimate(run.experiment.config, run.experiment.protocol)


def _planned_run(
    store: Path,
    cell: Cell,
    found: Combination,
    stored: DatasetAvailability,
    protocol: str,
    split: int,
    seed: int,
) -> PlannedRun:
    experiment = Experiment(found.config, stored.manifest_hash, protocol, split, seed)
    protocol_option = f" --protocol {protocol}" if protocol != "v1" else ""
    label = f"{cell.label} on {stored.name}, split {split}"
    return PlannedRun(
        label=label if seed == 0 else f"{label}, seed {seed}",
        experiment=experiment,
        folder=experiment.sweep_folder(store, cell.label),
        command=f"{found.command} --split {split} --seed {seed}{protocol_option}",
    )
