"""What a comparison prints: its plan before, its tables after."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cellbench.sweeps.plan import Plan, PlannedRun, State


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
    print_left_out(console, plan)
    for run in plan.in_state(State.FAILED):
        if run.failure is not None:
            console.print(Text(failed_text(run)), soft_wrap=True)
    console.print(Text(_summary(plan, jobs)), soft_wrap=True)


def print_left_out(console: Console, plan: Plan) -> None:
    """The sets and combinations that are not compared, each with what mends it."""
    for text in [stored.problem for stored in plan.sets if stored.problem] + plan.notes:
        console.print(Text(text), soft_wrap=True)


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


def failed_text(run: PlannedRun) -> str:
    """Which run failed, why, and where its log is."""
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
            console.print(Text(failed_text(run)), soft_wrap=True)
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
            number_text(_mean([record.metrics.get("mae") for record in records]), 2),
            number_text(_mean([record.metrics.get("rmse") for record in records]), 2),
            number_text(_mean([record.metrics.get("f1") for record in records]), 3),
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


def number_text(value: float | None, digits: int) -> str:
    """A dash for nothing."""
    return "-" if value is None else f"{value:.{digits}f}"


def spoken(seconds: float) -> str:
    """A length of time, for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
