"""From a grid to runs: what is done, what is missing, what cannot be had. Never imports torch."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cellbench.config.schema import ResolvedConfig
from cellbench.records.summaries import Run
from cellbench.sweeps.claims import holder_of
from cellbench.sweeps.combinations import Combination, GridOverrides, combine, unequal
from cellbench.sweeps.estimates import Speeds
from cellbench.sweeps.failures import Failure, read_failure
from cellbench.sweeps.finished import Finished, Key
from cellbench.sweeps.grids import Cell, Grid
from cellbench.sweeps.sets import DatasetAvailability, find_sets


class State(Enum):
    """Where a run stands, in the words of the plan."""

    DONE = "done"
    MISSING = "missing"
    FAILED = "failed"
    ELSEWHERE = "running elsewhere"
    NO_SET = "without their set"


@dataclass(slots=True)
class PlannedRun:
    """One training of one combination on one split with one seed.

    Attributes:
        label: what it is, for people.
        config: complete; what its process gets.
        dataset: name of the set.
        manifest_hash: of the set; None for a simulated set that is not drawn yet.
        protocol: name.
        split: number.
        seed: number.
        folder: of its claim, log and failure.
        command: that does the same run alone.
        state: where it stands.
        record: of a finished run.
        failure: of a failed run.
        estimate_s: how long it takes; None where no finished run tells.
    """

    label: str
    config: ResolvedConfig
    dataset: str
    manifest_hash: str | None
    protocol: str
    split: int
    seed: int
    folder: Path
    command: str
    state: State = State.MISSING
    record: Run | None = None
    failure: Failure | None = None
    estimate_s: float | None = None

    @property
    def key(self) -> Key | None:
        """What its record is found by; None before its set is drawn."""
        if self.manifest_hash is None:
            return None
        return (self.config.hash, self.manifest_hash, self.protocol, self.split, self.seed)


@dataclass(slots=True)
class Plan:
    """All runs of a comparison.

    Attributes:
        grid: what is compared.
        store: folder of runs and records.
        sets: usable or not, in the order asked for.
        runs: each once, in the order in which they start: all combinations of a split before the
            next split, so that what is there can be compared at any time.
        cells: per combination and set its runs; two combinations may share runs.
        finished: the records that were read.
        notes: sentences about what is left out or unequal.
        budgeted: whether steps follow from time.
    """

    grid: Grid
    store: Path
    sets: list[DatasetAvailability]
    runs: list[PlannedRun]
    cells: dict[tuple[Cell, str], list[PlannedRun]]
    finished: Finished
    notes: list[str] = field(default_factory=list)
    budgeted: bool = False

    def in_state(self, state: State) -> list[PlannedRun]:
        """The runs of one state."""
        return [run for run in self.runs if run.state is state]


def make_plan(grid: Grid, overrides: GridOverrides, store: Path) -> Plan:
    """Resolve every combination and see where each of its runs stands.

    Raises:
        UserError: a key that does not exist, an unknown set or protocol.
    """
    protocol = overrides.protocol or grid.protocol
    splits = overrides.splits or grid.splits
    sets = find_sets(overrides.datasets or grid.datasets, protocol=protocol, splits=splits)
    notes: list[str] = []
    combinations = combine(grid, [stored.name for stored in sets], overrides, notes)
    notes += unequal(grid, combinations, overrides)
    finished = Finished(store, [stored.name for stored in sets if not stored.problem])
    runs: dict[tuple[str, int, int], PlannedRun] = {}
    cells: dict[tuple[Cell, str], list[PlannedRun]] = {}
    for seed in overrides.seeds or grid.seeds:
        for split in splits:
            for stored in sets:
                for cell in grid.cells():
                    found = combinations.get((cell, stored.name))
                    if found is None:
                        continue
                    run = runs.setdefault(
                        (found.config.hash, split, seed),
                        _run(store, cell, found, stored, protocol, split, seed),
                    )
                    cells.setdefault((cell, stored.name), []).append(run)
    plan = Plan(
        grid,
        store,
        sets,
        list(runs.values()),
        cells,
        finished,
        notes,
        overrides.budget_s is not None,
    )
    update_states(plan)
    return plan


def update_states(plan: Plan) -> None:
    """See where every run stands, and how long the missing ones take."""
    speeds = Speeds(plan.finished.runs)
    unusable = {stored.name for stored in plan.sets if stored.problem}
    for run in plan.runs:
        if run.dataset in unusable:
            run.state = State.NO_SET
            continue
        run.record = plan.finished.find(run.key) if run.key is not None else None
        run.failure = read_failure(run.folder) if run.record is None else None
        if run.record is not None:
            run.state = State.DONE
        elif holder_of(run.folder) is not None:
            run.state = State.ELSEWHERE
        else:
            run.state = State.MISSING if run.failure is None else State.FAILED
        run.estimate_s = speeds.estimate(run.config, run.protocol)


def _run(
    store: Path,
    cell: Cell,
    found: Combination,
    stored: DatasetAvailability,
    protocol: str,
    split: int,
    seed: int,
) -> PlannedRun:
    known = json.dumps([found.config.hash, protocol, split, seed])
    key = hashlib.sha256(known.encode()).hexdigest()[:10]
    slug = "".join(c if c.isalnum() else "-" for c in cell.label.lower())[:40]
    more = f" --protocol {protocol}" if protocol != "v1" else ""
    label = f"{cell.label} on {stored.name}, split {split}"
    return PlannedRun(
        label=label if seed == 0 else f"{label}, seed {seed}",
        config=found.config,
        dataset=stored.name,
        manifest_hash=stored.manifest_hash,
        protocol=protocol,
        split=split,
        seed=seed,
        folder=store / "runs" / "sweeps" / stored.name / f"{slug}-s{split}-r{seed}-{key}",
        command=f"{found.command} --split {split} --seed {seed}{more}",
    )
