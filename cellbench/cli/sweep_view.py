"""Progress of a sweep, in a terminal and in logs."""

import time
from collections.abc import Sequence
from typing import Self

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cellbench.cli.plan_view import (
    failed_text,
    number_text,
    print_left_out,
    print_plan,
)
from cellbench.durations import exact_duration
from cellbench.ranking.tables import plain
from cellbench.sweeps.gpus import Share
from cellbench.sweeps.plan import Plan, PlannedRun, State
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.sweep import View

# Interval of progress lines where there is no terminal.
LINE_EVERY_S = 60.0


class TerminalView(View):
    """Live table of the running runs; plain lines without a terminal."""

    def __init__(self, console: Console) -> None:
        """Create a view of a sweep on a console."""
        self.console = console
        self.plan: Plan
        self.live: Live | None = None
        self.running: dict[int, _Row] = {}
        self.said_at = time.monotonic()
        self.seconds: list[float] = []  # durations of whole runs
        self.scoring_s: list[float] = []

    def unusable(self, problem: str) -> None:
        """Print the problem of an unusable file on standard error."""
        click.echo(f"cellbench: left out: {plain(problem)}", err=True)

    def planned(self, plan: Plan, jobs: int, shares: Sequence[Share]) -> None:
        """Print the plan as a table."""
        self.plan = plan
        print_plan(self.console, plan, jobs=jobs, shares=shares)

    def complete(self, plan: Plan) -> None:
        """Print the sets and combinations that are not compared."""
        print_left_out(self.console, plan)

    def __enter__(self) -> Self:
        """Start the live table, on a terminal."""
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=2, get_renderable=self._table)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the live table."""
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self.console.print(Text(text), soft_wrap=True)

    def started(self, run: PlannedRun, place: str) -> None:
        """Add the row of a run."""
        self.running[id(run)] = _Row(run, place)
        if self.live is None:
            self.say(f"{self._count()} started: {run.label} ({place})")

    def moved(self, run: PlannedRun, progress: Progress) -> None:
        """Update the row of a run."""
        if id(run) in self.running:
            self.running[id(run)].take(progress)

    def ended(self, run: PlannedRun, seconds: float) -> None:
        """Remove the row of a run, and print a line with its result."""
        row = self.running.pop(id(run), None)
        if row is not None and row.scoring_at is not None:
            self.scoring_s.append(time.monotonic() - row.scoring_at)
        if run.state is State.DONE and run.record is not None:
            if seconds:
                self.seconds.append(seconds)
            mae = run.record.metrics.get("mae")
            shown = "" if mae is None else f"MAE {mae:.2f}, "
            self.say(f"{self._count()} done: {run.label}: {shown}{exact_duration(seconds)}")
        elif run.state is State.FAILED:
            self.say(failed_text(run))

    def tick(self) -> None:
        """Print a progress line every `LINE_EVERY_S` if there is no live table."""
        if self.live is None and time.monotonic() - self.said_at >= LINE_EVERY_S:
            self.said_at = time.monotonic()
            rows = "; ".join(f"{row.run.label}: {row.where()}" for row in self.running.values())
            self.say(f"{self._count()}{self._left()} {rows}")

    def _count(self) -> str:
        return f"[{len(self.plan.in_state(State.DONE))}/{len(self.plan.runs)}]"

    def _left(self) -> str:
        """Return the time to the end of the sweep; empty if unknown.

        Queued runs take the mean of those that this sweep has finished, else the plan's estimate.
        """
        rows = list(self.running.values())
        mean_s = _mean(self.seconds)
        missing = self.plan.in_state(State.MISSING)
        queued = [run for run in missing if id(run) not in self.running]
        times = [mean_s if mean_s is not None else run.estimate_s for run in queued]
        parts = [row.left_s(_mean(self.scoring_s)) for row in rows]
        if not rows or None in times or None in parts:
            return ""
        total = sum(t for t in times if t) + sum(p for p in parts if p)
        return f" about {exact_duration(total / len(rows))} left."

    def _table(self) -> Table:
        table = Table(title=Text(f"{self._count()}{self._left()}"), title_justify="left")
        for name in ("run", "place", "steps", "loss", "validation MAE", "left"):
            table.add_column(name, justify="left" if name in ("run", "place") else "right")
        for row in list(self.running.values()):
            table.add_row(*(Text(cell) for cell in row.cells(_mean(self.scoring_s))))
        return table


def _mean(seconds: Sequence[float]) -> float | None:
    return sum(seconds) / len(seconds) if seconds else None


class _Row:
    """Row of the live table: a running run."""

    def __init__(self, run: PlannedRun, place: str) -> None:
        self.run = run
        self.place = place
        self.began = time.monotonic()
        self.progress = Progress()
        self.first: tuple[float, int] | None = None
        self.scoring_at: float | None = None

    def take(self, progress: Progress) -> None:
        self.progress = progress
        if self.scoring_at is None and progress.phase == "scoring":
            self.scoring_at = time.monotonic()
        if self.first is None and progress.step:
            self.first = (time.monotonic(), progress.step)

    def left_s(self, scoring_s: float | None) -> float | None:
        """Estimate the seconds left, by the run's own steps and the scoring time of other runs.

        Without these the plan's estimate is used; None if it is unknown or exceeded.
        """
        now, done, steps = time.monotonic(), self.progress.step, self.progress.steps
        if self.scoring_at is not None and scoring_s is not None:
            return max(0.0, scoring_s - (now - self.scoring_at))
        if self.scoring_at is None and self.first is not None and done > self.first[1] and steps:
            began, at = self.first
            return (now - began) / (done - at) * (steps - done) + (scoring_s or 0.0)
        planned = (self.run.estimate_s or 0.0) - (now - self.began)
        return planned if planned > 0 else None

    def where(self) -> str:
        p = self.progress
        if p.phase == "training":
            return f"step {p.step}/{p.steps}"
        return "ending" if p.phase == "done" else p.phase

    def cells(self, scoring_s: float | None) -> tuple[str, ...]:
        p, left = self.progress, self.left_s(scoring_s)
        return (
            self.run.label,
            self.place,
            self.where(),
            number_text(p.loss, 4),
            number_text(p.validation_mae, 2),
            "" if left is None else exact_duration(left),
        )
