"""Terminal output of a comparison: its plan and its result tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cellbench.durations import exact_duration
from cellbench.sweeps.gpus import Share
from cellbench.sweeps.plan import Plan, PlannedRun, PlanPart, State

if TYPE_CHECKING:
    from cellbench.reports.sheets import Sheet
    from cellbench.sweeps.grid_run import GridOutcome


def print_plan(console: Console, plan: Plan, *, jobs: int, shares: Sequence[Share] = ()) -> None:
    """Print the runs done and missing, per combination and set, and the sharing of GPUs."""
    for part in plan.parts:
        console.print(_plan_table(part))
    print_left_out(console, plan)
    for run in plan.in_state(State.FAILED):
        if run.failure is not None:
            console.print(Text(failed_text(run)), soft_wrap=True)
    console.print(Text(_summary(plan, jobs)), soft_wrap=True)
    for share in shares:
        if share.reason:
            console.print(Text(share.reason), soft_wrap=True)


def _plan_table(part: PlanPart) -> Table:
    names = [stored.name for stored in part.sets]
    table = Table(title=Text(part.grid.title), title_justify="left")
    for factor in part.grid.factors:
        table.add_column(factor.name)
    for name in names:
        table.add_column(name, justify="right")
    for cell in part.grid.cells():
        if any((cell, name) in part.cells for name in names):
            states = [_states(part.cells.get((cell, name), [])) for name in names]
            table.add_row(*(Text(label) for _, label in cell.levels), *states)
    return table


def print_left_out(console: Console, plan: Plan) -> None:
    """Print the sets and combinations that are not compared, each with its remedy."""
    for text in [stored.problem for stored in plan.sets if stored.problem] + plan.notes:
        console.print(Text(text), soft_wrap=True)


def _states(runs: Sequence[PlannedRun]) -> str:
    """Return the states as text, such as "3 of 5 done, 1 failed"."""
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
    by_state = ", ".join(
        f"{count} {state.value}"
        for state, count in counts.items()
        if count or state in (State.DONE, State.MISSING)
    )
    missing = plan.in_state(State.MISSING)
    text = f"{len(plan.runs)} runs: {by_state}."
    known = [run.estimate_s for run in missing if run.estimate_s is not None]
    if missing and not known:
        return f"{text} No finished run says yet how long the missing ones take."
    if missing:
        left = sum(known) / len(known) * len(missing) / jobs
        source = "by their budget" if plan.budgeted else "by the finished ones"
        guess = ""
        if len(known) < len(missing):
            guess = f" ({len(known)} of them are known, the others are taken to last as long)"
        length = f"{exact_duration(left)}{guess}"
        text += f" The missing ones take about {length} with --jobs {jobs}, {source}."
    return text


def failed_text(run: PlannedRun) -> str:
    """Return a sentence on a failed run: its label, the reason, and its log."""
    assert run.failure is not None
    return f"Failed: {run.label}: {run.failure.reason}; log: {run.failure.log}"


def print_outcome(console: Console, outcome: "GridOutcome") -> None:
    """Print a table per set, the report's files, and a sentence for every run that failed."""
    from cellbench.reports.grid_results import measured_sets
    from cellbench.reports.grid_sheets import cells_sheet

    plan = outcome.plan
    for part in outcome.parts:
        before = f"{part.title}: " if len(outcome.parts) > 1 else ""
        for measured in measured_sets(part.done):
            title = f"{before}{measured.title}{' (simulated)' * measured.simulated}"
            console.print(_table(title, cells_sheet(measured)))
            for text in measured.left_out:
                console.print(Text(text), soft_wrap=True)
        for text in part.notes:
            console.print(Text(text), soft_wrap=True)
        if part.files:
            report = f"Report: {part.files[0]} and {len(part.files) - 1} more files"
            console.print(Text(report), soft_wrap=True)
    if not any(part.files for part in outcome.parts):
        console.print("No run is finished yet.")
    for run in plan.in_state(State.FAILED):
        if run.failure is not None:
            console.print(Text(failed_text(run)), soft_wrap=True)
    elsewhere = len(plan.in_state(State.ELSEWHERE))
    if elsewhere:
        console.print(f"{elsewhere} of its runs are with other sweeps still.")


def _table(title: str, sheet: "Sheet") -> Table:
    table = Table(title=Text(title), title_justify="left")
    for index, (_, name) in enumerate(sheet.heads):
        table.add_column(name, justify="left" if index < sheet.left else "right")
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table


def number_text(value: float | None, digits: int) -> str:
    """Format a number; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"
