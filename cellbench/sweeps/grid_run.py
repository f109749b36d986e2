"""Run the missing runs of a grid and write its report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cellbench.errors import UserError
from cellbench.reports.comparison import write_report
from cellbench.reports.grid_results import GridRun
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.executors import Executor, LocalExecutor
from cellbench.sweeps.gpus import Share, share_gpus, visible_gpus
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import Plan, PlanPart, State, make_plan
from cellbench.sweeps.slots import Slot, cores, make_slots
from cellbench.sweeps.sweep import Sweep, View, remove_stale_claims
from cellbench.sweeps.tasks import make_task


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """Execution settings of a grid: device, parallelism and executor.

    Attributes:
        device: "auto", "cpu", "cuda", ...
        jobs: concurrent runs; None for 1 on a CPU, or the capacity of the GPUs.
        runs_per_gpu: None to choose by memory, cores and measurements.
        executor: "local" or "ray".
        address: address of a Ray cluster.
        cpus_per_run: cores that Ray reserves for a run.
        stall_timeout_s: seconds without progress after which a run is ended.
    """

    device: str
    jobs: int | None
    runs_per_gpu: int | None
    executor: str
    address: str | None
    cpus_per_run: int | None
    stall_timeout_s: float


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """Finished runs and report of a grid with factors.

    Attributes:
        title: title of the grid.
        done: finished runs with their levels in the grid.
        files: files of the report, the Markdown page first; empty without finished runs.
        notes: sentences about what the report lacks.
    """

    title: str
    done: tuple[GridRun, ...]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GridOutcome:
    """Result of `run_grid`.

    Attributes:
        plan: plan with the state of every run.
        parts: outcomes of the grids with factors.
    """

    plan: Plan
    parts: tuple[PartOutcome, ...]


def run_grid(
    grid: str,
    overrides: GridOverrides,
    store: Path,
    where: ExecutionOptions,
    *,
    dry_run: bool,
    retry_failed: bool,
    wait_for_others: bool,
    view: View,
) -> GridOutcome:
    """Run the missing runs of a grid and write its report.

    Args:
        grid: name or file.
        overrides: values that replace the grid's.
        store: folder of runs and records.
        where: execution settings.
        dry_run: only plan; run and write nothing.
        retry_failed: start failed runs again.
        wait_for_others: wait for the runs that other sweeps hold.
        view: receives progress.

    Raises:
        UserError: the grid or an override is invalid, or none of its datasets can be used.
    """
    chosen = load_grid(grid)
    plan = make_plan(chosen, overrides, store)
    for problem in plan.finished.problems:
        view.unusable(problem)
    shares = [] if where.executor == "ray" else _gpu_shares(plan, where, retry_failed)
    if dry_run:
        slots = make_slots(jobs=where.jobs, shares=shares)
        view.planned(plan, len(slots), shares)
        return GridOutcome(plan, tuple(finished_part(part) for part in plan.parts))
    if all(stored.problem for stored in plan.sets):
        raise UserError("; ".join(s.problem.rstrip(".") for s in plan.sets) + ".")
    remove_stale_claims(plan)
    waiting = plan.in_state(State.MISSING) + plan.in_state(State.ELSEWHERE)
    if waiting or (retry_failed and plan.in_state(State.FAILED)):
        from cellbench.sweeps.sets import simulate_missing_sets

        if simulate_missing_sets(plan.sets, view.say):
            plan = make_plan(chosen, overrides, store)
        executor = _executor(plan, where, shares)
        try:
            view.planned(plan, max(1, executor.free()), shares)
            with view:
                Sweep(
                    plan,
                    executor,
                    lambda run: make_task(
                        run, store, device=where.device, stall_timeout_s=where.stall_timeout_s
                    ),
                    view=view,
                    retry_failed=retry_failed,
                    wait_for_others=wait_for_others,
                ).run()
        finally:
            executor.close()
    else:
        view.complete(plan)
    return GridOutcome(plan, tuple(_reported_part(part, store) for part in plan.parts))


def finished_part(part: PlanPart) -> PartOutcome:
    """Collect the finished runs of a part, each once per cell that it belongs to."""
    done = tuple(
        GridRun(cell.levels, run.record)
        for (cell, _), runs in part.cells.items()
        for run in runs
        if run.record is not None
    )
    return PartOutcome(part.grid.title, done)


def _reported_part(part: PlanPart, store: Path) -> PartOutcome:
    notes: list[str] = []
    finished = finished_part(part)
    files = write_report(
        report_folder(part, store),
        grid_name=part.grid.name,
        layout=part.grid.layout,
        runs=finished.done,
        say=notes.append,
    )
    return replace(finished, files=tuple(files), notes=tuple(notes))


def report_folder(part: PlanPart, store: Path) -> Path:
    """Return a grid's report folder; simulated datasets and other protocols have their own."""
    names = [part.grid.name]
    if all(stored.name.endswith("-sim") for stored in part.sets):
        names.append("sim")
    if part.protocol != "v1":
        names.append(part.protocol)
    return store / "leaderboards" / "grids" / "-".join(names)


def _gpu_shares(plan: Plan, where: ExecutionOptions, retry_failed: bool) -> list[Share]:
    """Return the number of runs for each GPU; empty on a CPU."""
    gpus = visible_gpus(where.device)
    if not gpus:
        return []
    from cellbench.sweeps.demand import demand_of

    products = {gpu.product for gpu in gpus}
    demand = demand_of(plan, products=products, retry_failed=retry_failed)
    return share_gpus(gpus, runs_per_gpu=where.runs_per_gpu, demand=demand, cores=cores())


def _executor(plan: Plan, where: ExecutionOptions, shares: Sequence[Share]) -> Executor:
    """Create the Ray or local executor; several local runs are forked from one process."""
    if where.executor == "ray":
        from cellbench.sweeps.ray_executor import RayExecutor

        return RayExecutor(
            plan.store,
            address=where.address,
            jobs=where.jobs,
            cpus_per_run=where.cpus_per_run,
            runs_per_gpu=where.runs_per_gpu or 1,
            on_gpu=where.device in ("auto", "cuda"),
        )
    slots: list[Slot] = make_slots(jobs=where.jobs, shares=shares)
    missing = plan.in_state(State.MISSING) + plan.in_state(State.FAILED)
    if len(missing) <= 1:
        return LocalExecutor(slots, server=None)
    from cellbench.sweeps.preload import start_server

    threads = {k: v for k, v in slots[0].environment.items() if k != "CUDA_VISIBLE_DEVICES"}
    return LocalExecutor(
        slots, server=start_server((run.experiment.config for run in missing), threads)
    )
