"""How a sweep looks: its plan, what runs, and what came of it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cellbench.sweeps.plan import Plan, PlannedRun, State
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.sweep import View

# Where there is no terminal, a line this often says how far the sweep is.
LINE_EVERY_S = 60.0


def print_plan(console: Console, plan: Plan, *, jobs: int) -> None:
    """What is done and what is missing, per combination and set."""
    names = [stored.name for stored in plan.sets]
    table = Table(title=Text(plan.grid.title), title_justify="left")
    for factor in plan.grid.factors:
        table.add_column(factor.name)
    for name in names:
        table.add_column(name, justify="right")
    for cell in plan.grid.cells():
        if any((cell, name) in plan.cells for name in names):
            states = [_states(plan.cells.get((cell, name), [])) for name in names]
            table.add_row(*(Text(label) for _, label in cell.levels), *states)
    console.print(table)
    for stored in plan.sets:
        if stored.problem:
            console.print(Text(stored.problem), soft_wrap=True)
    for note in plan.notes:
        console.print(Text(note), soft_wrap=True)
    for run in plan.in_state(State.FAILED):
        if run.failure is not None:
            console.print(Text(_failed(run)), soft_wrap=True)
    console.print(Text(_summary(plan, jobs)), soft_wrap=True)


def _states(runs: Sequence[PlannedRun]) -> str:
    """Such as "3 of 5 done, 1 failed"."""
    if not runs:
        return "-"
    if runs[0].state is State.NO_SET:
        return "no set"
    done = sum(run.state is State.DONE for run in runs)
    parts = ["done" if done == len(runs) else f"{done} of {len(runs)} done"]
    for state in (State.FAILED, State.ELSEWHERE):
        count = sum(run.state is state for run in runs)
        if count:
            parts.append(f"{count} {state.value}")
    return ", ".join(parts)


def _summary(plan: Plan, jobs: int) -> str:
    counts = {state: len(plan.in_state(state)) for state in State}
    said = ", ".join(
        f"{count} {state.value}"
        for state, count in counts.items()
        if count or state in (State.DONE, State.MISSING)
    )
    missing = plan.in_state(State.MISSING)
    text = f"{len(plan.runs)} runs: {said}."
    known = [run.estimate_s for run in missing if run.estimate_s is not None]
    if missing and not known:
        return f"{text} No finished run says yet how long the missing ones take."
    if missing:
        left = sum(known) / len(known) * len(missing) / jobs
        source = "by their budget" if plan.budgeted else "by the finished ones"
        guess = "" if len(known) == len(missing) else f" ({len(known)} of them known, the rest so)"
        text += f" The missing ones take about {spoken(left)}{guess} with --jobs {jobs}, {source}."
    return text


def _failed(run: PlannedRun) -> str:
    assert run.failure is not None
    return f"Failed: {run.label}: {run.failure.reason}; log: {run.failure.log}"


def print_outcome(console: Console, plan: Plan) -> None:
    """A table of each set, the files of the report, and a sentence for every run that failed."""
    done = [(cell, run) for (cell, _), runs in plan.cells.items() for run in runs if run.record]
    for stored in plan.sets:
        if any(run.dataset == stored.name for _, run in done):
            console.print(_results(plan, stored.name))
    if done:
        for file in _report(plan):
            console.print(Text(f"Written: {file}"), soft_wrap=True)
    else:
        console.print("No run is finished yet.")
    for run in plan.in_state(State.FAILED):
        if run.failure is not None:
            console.print(Text(_failed(run)), soft_wrap=True)
    elsewhere = len(plan.in_state(State.ELSEWHERE))
    if elsewhere:
        console.print(f"{elsewhere} of its runs are with other sweeps still.")


def _results(plan: Plan, dataset: str) -> Table:
    """Means over the finished runs of every combination, in the order of the grid."""
    protocol = plan.runs[0].protocol
    said = " (simulated)" if dataset.endswith("-sim") else ""
    table = Table(title=Text(f"{dataset}{said}, protocol {protocol}"), title_justify="left")
    for factor in plan.grid.factors:
        table.add_column(factor.name)
    for name in ("runs", "MAE", "RMSE", "F1", "steps", "training"):
        table.add_column(name, justify="right")
    for cell in plan.grid.cells():
        runs = plan.cells.get((cell, dataset), [])
        records = [run.record for run in runs if run.record is not None]
        if not records:
            continue
        steps = sorted({record.iterations for record in records})
        trained = _mean([record.train_s for record in records])
        table.add_row(
            *(Text(label) for _, label in cell.levels),
            str(len(records)) if len(records) == len(runs) else f"{len(records)} of {len(runs)}",
            _number(_mean([record.metrics.get("mae") for record in records]), 2),
            _number(_mean([record.metrics.get("rmse") for record in records]), 2),
            _number(_mean([record.metrics.get("f1") for record in records]), 3),
            f"{steps[0]}" if len(steps) == 1 else f"{steps[0]}-{steps[-1]}",
            "-" if trained is None else spoken(trained),
        )
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a run has no value."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _report(plan: Plan) -> list[Path]:
    """The files that a comparison leaves, in a folder of the grid's own."""
    from cellbench.results.report import GridRun, write_report

    protocol = plan.runs[0].protocol
    parts = [plan.grid.name]
    if all(stored.name.endswith("-sim") for stored in plan.sets):
        parts.append("sim")
    if protocol != "v1":
        parts.append(protocol)
    runs = [
        GridRun(cell.levels, run.record)
        for (cell, _), planned in plan.cells.items()
        for run in planned
        if run.record is not None
    ]
    return write_report(
        plan.store / "leaderboards" / "grids" / "-".join(parts),
        grid_name=plan.grid.name,
        layout=plan.grid.layout,
        runs=runs,
    )


class TerminalView(View):
    """A live table of what runs; plain lines where there is no terminal."""

    def __init__(self, console: Console, plan: Plan) -> None:
        """Remember where to draw, and of what."""
        self.console = console
        self.plan = plan
        self.live: Live | None = None
        self.running: dict[int, _Row] = {}
        self.waiting = 0
        self.began = time.monotonic()
        self.said_at = self.began
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=2, get_renderable=self._table)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the drawing."""
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """A line above the table."""
        self.console.print(Text(text), soft_wrap=True)

    def started(self, run: PlannedRun, place: str) -> None:
        """A new row."""
        self.running[id(run)] = _Row(run, place)
        if self.live is None:
            self.say(f"{self._count()} started: {run.label} ({place})")

    def moved(self, run: PlannedRun, progress: Progress) -> None:
        """A row changes."""
        if id(run) in self.running:
            self.running[id(run)].take(progress)

    def ended(self, run: PlannedRun, seconds: float) -> None:
        """A row goes, and a line stays."""
        self.running.pop(id(run), None)
        if run.state is State.DONE and run.record is not None:
            if seconds:
                self.seconds.append(seconds)
            mae = run.record.metrics.get("mae")
            shown = "" if mae is None else f"MAE {mae:.2f}, "
            self.say(f"{self._count()} done: {run.label}: {shown}{spoken(seconds)}")
        elif run.state is State.FAILED:
            self.say(_failed(run))

    def tick(self, waiting: int) -> None:
        """Now and then a line, where there is no table."""
        self.waiting = waiting
        if self.live is None and time.monotonic() - self.said_at >= LINE_EVERY_S:
            self.said_at = time.monotonic()
            rows = "; ".join(f"{row.run.label}: {row.where()}" for row in self.running.values())
            self.say(f"{self._count()}{self._left()} {rows}")

    def _count(self) -> str:
        return f"[{len(self.plan.in_state(State.DONE))}/{len(self.plan.runs)}]"

    def _left(self) -> str:
        """Time to the end of the sweep, by the runs that it has finished itself."""
        rows = list(self.running.values())
        own = sum(self.seconds) / len(self.seconds) if self.seconds else None
        missing = self.plan.in_state(State.MISSING)
        queued = [run for run in missing if id(run) not in self.running]
        times = [own if own is not None else run.estimate_s for run in queued]
        parts = [row.left_s() for row in rows]
        if not rows or None in times or None in parts:
            return ""
        total = sum(t for t in times if t) + sum(p for p in parts if p)
        return f" about {spoken(total / len(rows))} left."

    def _table(self) -> Table:
        table = Table(title=Text(f"{self._count()}{self._left()}"), title_justify="left")
        for name in ("run", "place", "steps", "loss", "validation MAE", "left"):
            table.add_column(name, justify="left" if name in ("run", "place") else "right")
        for row in list(self.running.values()):
            table.add_row(*(Text(cell) for cell in row.cells()))
        return table


class _Row:
    """One run of the live table."""

    def __init__(self, run: PlannedRun, place: str) -> None:
        self.run = run
        self.place = place
        self.began = time.monotonic()
        self.progress = Progress()
        self.first: tuple[float, int] | None = None

    def take(self, progress: Progress) -> None:
        self.progress = progress
        if self.first is None and progress.step:
            self.first = (time.monotonic(), progress.step)

    def left_s(self) -> float | None:
        """By its own steps where there are some, else by the plan."""
        done, steps = self.progress.step, self.progress.steps
        if self.first is not None and done > self.first[1] and steps:
            began, at = self.first
            return (time.monotonic() - began) / (done - at) * (steps - done)
        if self.run.estimate_s is None:
            return None
        return max(0.0, self.run.estimate_s - (time.monotonic() - self.began))

    def where(self) -> str:
        p = self.progress
        return f"step {p.step}/{p.steps}" if p.phase == "training" else p.phase

    def cells(self) -> tuple[str, ...]:
        p, left = self.progress, self.left_s()
        return (
            self.run.label,
            self.place,
            f"{p.step}/{p.steps}" if p.phase == "training" else p.phase,
            _number(p.loss, 4),
            _number(p.validation_mae, 2),
            "" if left is None else spoken(left),
        )


def _number(value: Any, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def spoken(seconds: float) -> str:
    """A length of time, for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
