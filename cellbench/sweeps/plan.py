"""From a grid to runs: what is done, what is missing, what cannot be had. Never imports torch."""

import dataclasses
import functools
import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Any

from cellbench.config import ResolvedConfig, find_config, loading_once, resolve
from cellbench.errors import UserError
from cellbench.results.runs import Run
from cellbench.sweeps.claims import holder_of
from cellbench.sweeps.failures import Failure, read_failure
from cellbench.sweeps.finished import Finished, Key
from cellbench.sweeps.grids import Cell, Grid
from cellbench.sweeps.sets import SetHere, find_sets

# A run's start and end beside its training: imports, weights, FLOPs, pictures.
_AROUND_S = 10.0


Base = Callable[[str, str], ResolvedConfig]
"""The config of a name on a set, as it stands."""


class State(Enum):
    """Where a run stands, in the words of the plan."""

    DONE = "done"
    MISSING = "missing"
    FAILED = "failed"
    ELSEWHERE = "running elsewhere"
    NO_SET = "without their set"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says instead of the grid; None and empty leave the grid's.

    Attributes:
        datasets: names, real or simulated.
        splits: numbers.
        seeds: numbers.
        protocol: name.
        epochs: of every run.
        budget_s: seconds that every run fits its steps to.
    """

    datasets: tuple[str, ...] = ()
    splits: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    protocol: str = ""
    epochs: int | None = None
    budget_s: float | None = None


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
    sets: list[SetHere]
    runs: list[PlannedRun]
    cells: dict[tuple[Cell, str], list[PlannedRun]]
    finished: Finished
    notes: list[str] = field(default_factory=list)
    budgeted: bool = False

    def in_state(self, state: State) -> list[PlannedRun]:
        """The runs of one state."""
        return [run for run in self.runs if run.state is state]


def make_plan(grid: Grid, wish: Wish, store: Path) -> Plan:
    """Resolve every combination and see where each of its runs stands.

    Raises:
        UserError: a key that does not exist, an unknown set or protocol.
    """
    protocol = wish.protocol or grid.protocol
    splits = wish.splits or grid.splits
    sets = find_sets(wish.datasets or grid.datasets, protocol=protocol, splits=splits)
    notes: list[str] = []
    with loading_once():
        base = functools.cache(lambda config, dataset: resolve(config, dataset=dataset))
        configs = {
            (cell, stored.name): found
            for cell in _usable_cells(grid, notes)
            for stored in sets
            if (found := _config(grid, cell, stored, wish, base, notes)) is not None
        }
    notes += _unequal(grid, configs, wish)
    finished = Finished(store, [stored.name for stored in sets if not stored.problem])
    runs: dict[tuple[str, int, int], PlannedRun] = {}
    cells: dict[tuple[Cell, str], list[PlannedRun]] = {}
    for seed in wish.seeds or grid.seeds:
        for split in splits:
            for stored in sets:
                for cell in grid.cells():
                    entry = configs.get((cell, stored.name))
                    if entry is None:
                        continue
                    config, command = entry
                    run = runs.setdefault(
                        (config.hash, split, seed),
                        _run(store, cell, config, command, stored, protocol, split, seed),
                    )
                    cells.setdefault((cell, stored.name), []).append(run)
    plan = Plan(
        grid, store, sets, list(runs.values()), cells, finished, notes, wish.budget_s is not None
    )
    look(plan)
    return plan


def look(plan: Plan) -> None:
    """See where every run stands, and how long the missing ones take."""
    speeds = _Speeds(plan.finished.runs)
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
        run.estimate_s = speeds.estimate(run)


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


def _config(
    grid: Grid, cell: Cell, stored: SetHere, wish: Wish, base: Base, notes: list[str]
) -> tuple[ResolvedConfig, str] | None:
    """The config of a combination on a set, and the command that names it."""
    try:
        config, changes = _changed(cell, stored.name, base)
    except UserError as error:
        said = str(error).removeprefix("--set ")
        if grid.base:
            raise UserError(f"{grid.file.name}: {cell.label}: {said}") from None
        notes.append(f"{cell.label} is left out on {stored.name}: {said}")
        return None
    options = [text for change in changes for text in ("--set", change)]
    data, schedule = config.data, config.schedule
    if wish.epochs is not None:
        data = dataclasses.replace(data, epochs=wish.epochs)
        options += ["--epochs", str(wish.epochs)]
    if wish.budget_s is not None:
        schedule = dataclasses.replace(schedule, budget_s=wish.budget_s)
        options += ["--budget", f"{wish.budget_s:g}s"]
    config = dataclasses.replace(config, data=data, schedule=schedule)
    return config, shlex.join(["cellbench", "run", cell.config, "--dataset", stored.name, *options])


def _changed(cell: Cell, dataset: str, base: Base) -> tuple[ResolvedConfig, list[str]]:
    """The config of a combination, and what it changes of the base, as `--set` takes it.

    What changes nothing is left out: a combination that is a config as it stands keeps its name,
    and so its records; and two grids that mean one combination share its runs.
    """
    config = base(cell.config, dataset)
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
        config = resolve(cell.config, dataset=dataset, overrides=list(texts.values()))


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
    import ast

    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def _run(
    store: Path,
    cell: Cell,
    config: ResolvedConfig,
    command: str,
    stored: SetHere,
    protocol: str,
    split: int,
    seed: int,
) -> PlannedRun:
    known = json.dumps([config.hash, protocol, split, seed])
    key = hashlib.sha256(known.encode()).hexdigest()[:10]
    slug = "".join(c if c.isalnum() else "-" for c in cell.label.lower())[:40]
    more = f" --protocol {protocol}" if protocol != "v1" else ""
    label = f"{cell.label} on {stored.name}, split {split}"
    return PlannedRun(
        label=label if seed == 0 else f"{label}, seed {seed}",
        config=config,
        dataset=stored.name,
        manifest_hash=stored.manifest_hash,
        protocol=protocol,
        split=split,
        seed=seed,
        folder=store / "runs" / "sweeps" / stored.name / f"{slug}-s{split}-r{seed}-{key}",
        command=f"{command} --split {split} --seed {seed}{more}",
    )


def _unequal(
    grid: Grid, configs: dict[tuple[Cell, str], tuple[ResolvedConfig, str]], wish: Wish
) -> list[str]:
    """Where the combinations of a base do not get the same number of steps."""
    if wish.budget_s is not None:
        return [
            "With --budget every run fits its own number of steps: the time is equal, the steps "
            "are not; --epochs N makes them so."
        ]
    if not grid.base:
        return []
    lengths: dict[str, set[tuple[int, int, int]]] = {}
    for (_, name), (config, _) in configs.items():
        data = config.data
        lengths.setdefault(name, set()).add((data.epochs, data.batch_size, data.crops_per_image))
    return [
        f"On {name} the combinations do not train for the same number of steps: the grid changes "
        "data.epochs, data.batch_size or data.crops_per_image."
        for name, found in lengths.items()
        if len(found) > 1
    ]


class _Speeds:
    """Seconds a pass over the training images, from finished runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._own: dict[tuple[str, str, str], list[float]] = {}
        self._any: dict[tuple[str, str], list[float]] = {}
        self._test: dict[tuple[str, str], list[float]] = {}
        for run in runs:
            if run.train_s is None or not run.epochs > 0:
                continue
            place = (run.dataset, run.protocol)
            pass_s = run.train_s / run.epochs
            self._own.setdefault((run.method, *place), []).append(pass_s)
            self._any.setdefault(place, []).append(pass_s)
            if run.images_per_s:
                self._test.setdefault(place, []).append(len(run.image_ids) / run.images_per_s)

    def estimate(self, run: PlannedRun) -> float | None:
        """Seconds from start to record."""
        if run.config.schedule.budget_s is not None:
            return run.config.schedule.budget_s
        place = (run.dataset, run.protocol)
        known = self._own.get((run.config.method.name, *place)) or self._any.get(place)
        if not known:
            return None
        test_s = median(self._test[place]) if place in self._test else 0.0
        return _AROUND_S + median(known) * run.config.data.epochs + test_s
