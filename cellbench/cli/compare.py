"""`cellbench compare`."""

import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from cellbench.cli.run import CountOrAuto, Duration
from cellbench.errors import RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellbench.sweeps.executors import Executor
    from cellbench.sweeps.gpus import Share
    from cellbench.sweeps.plan import Plan, PlannedRun
    from cellbench.sweeps.slots import Slot
    from cellbench.sweeps.tasks import Task

# Columns of text in a table that no terminal limits.
_UNLIMITED = 200


class Numbers(click.ParamType):
    """Whole numbers such as 0-4 or 0,2,3."""

    name = "numbers"

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Ascending, each once."""
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).split(","):
            span = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
            if span is None or int(span[2] or span[1]) < int(span[1]):
                self.fail(f"{value!r} are no whole numbers; write 0-4 or 0,2,3.", param, ctx)
            found |= set(range(int(span[1]), int(span[2] or span[1]) + 1))
        if self.most is not None and max(found) > self.most:
            self.fail(f"{max(found)} is too much; they are 0 to {self.most}.", param, ctx)
        return tuple(sorted(found))


@click.command()
@click.argument("grid", default="components")
@click.option("--datasets", metavar="SETS", help="Such as adi,vgg or adi-sim; the grid's else.")
@click.option("--splits", type=Numbers(4), help="Such as 0-4 or 0,2; the grid's by default.")
@click.option("--seeds", type=Numbers(), help="Such as 0-2; the grid's by default.")
@click.option("--protocol", metavar="NAME", help="Splits and selection rule; the grid's else.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.")
@click.option("--budget", type=Duration(), help="Fit each run's steps to this time, such as 8m.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of every run."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Runs at once; by default 1, or as GPUs allow."
)
@click.option(
    "--runs-per-gpu",
    type=CountOrAuto(1),
    default="auto",
    show_default=True,
    help="That share a GPU; auto goes by its memory, the CPU's cores and what was measured.",
)
@click.option(
    "--executor",
    "where",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This machine, or Ray (pip install 'cellbench[ray]').",
)
@click.option("--address", help="Of a Ray cluster, or auto; a Ray of this machine by default.")
@click.option("--cpus-per-run", type=click.IntRange(1), help="Cores that Ray reserves for a run.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--retry-failed", is_flag=True, help="Start runs that failed again.")
@click.option("--no-wait", is_flag=True, help="Do not wait for runs that other sweeps hold.")
@click.option(
    "--stall-timeout",
    type=Duration(),
    default="30m",
    show_default=True,
    help="A run without progress for so long hangs.",
)
@click.option("--store", metavar="DIR", help="Folder of runs/ and leaderboards/.")
def command(
    grid: str,
    datasets: str | None,
    splits: tuple[int, ...] | None,
    seeds: tuple[int, ...] | None,
    protocol: str | None,
    epochs: int | None,
    budget: float | None,
    overrides: tuple[str, ...],
    device: str,
    jobs: int | None,
    runs_per_gpu: int | None,
    where: str,
    address: str | None,
    cpus_per_run: int | None,
    dry_run: bool,
    retry_failed: bool,
    no_wait: bool,
    stall_timeout: float,
    store: str | None,
) -> None:
    """Run every combination of GRID that is missing, and show the tables.

    GRID is a file of configs/grids: components (the default), table2 to table5, or one of your
    own. Several calls over one store share the work; the same command goes on where it was.
    """
    if epochs is not None and budget is not None:
        raise UserError("--epochs and --budget both fix the length of the run; give one of them.")
    if where == "local" and (address or cpus_per_run):
        raise UserError("--address and --cpus-per-run are Ray's; add --executor ray.")
    from rich.console import Console

    from cellbench import paths
    from cellbench.cli.plan_view import print_left_out, print_plan
    from cellbench.cli.sweep_view import TerminalView
    from cellbench.sweeps.combinations import GridOverrides
    from cellbench.sweeps.grid_files import load_grid
    from cellbench.sweeps.plan import State, make_plan
    from cellbench.sweeps.slots import make_slots
    from cellbench.sweeps.sweep import remove_stale_claims

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)
    wish = GridOverrides(
        datasets=tuple(name.strip() for name in (datasets or "").split(",") if name.strip()),
        splits=splits or (),
        seeds=seeds or (),
        protocol=protocol or "",
        epochs=epochs,
        budget_s=budget,
        overrides=overrides,
    )
    folder = paths.store(store).absolute()
    chosen = load_grid(grid)
    plan = make_plan(chosen, wish, folder)
    for problem in plan.finished.problems:
        click.echo(f"cellbench: left out: {problem}", err=True)
    shares = [] if where == "ray" else _shares(plan, device, runs_per_gpu, retry_failed)
    if dry_run:
        slots = make_slots(device=device, jobs=jobs, shares=shares)
        print_plan(console, plan, jobs=len(slots), shares=shares)
        return
    if all(stored.problem for stored in plan.sets):
        raise UserError("; ".join(s.problem.rstrip(".") for s in plan.sets) + ".")
    remove_stale_claims(plan)
    waiting = plan.in_state(State.MISSING) + plan.in_state(State.ELSEWHERE)
    if waiting or (retry_failed and plan.in_state(State.FAILED)):
        from cellbench.sweeps.sets import draw_sets

        if draw_sets(plan.sets, lambda text: console.print(text)):
            plan = make_plan(chosen, wish, folder)
        if where == "ray":
            executor = _ray(device, jobs, runs_per_gpu or 1, address, cpus_per_run, folder)
        else:
            executor = _local(plan, make_slots(device=device, jobs=jobs, shares=shares))
        print_plan(console, plan, jobs=max(1, executor.free()), shares=shares)
        _run(
            plan,
            executor,
            TerminalView(console, plan),
            device=device,
            stall_timeout_s=stall_timeout,
            retry_failed=retry_failed,
            wait_for_others=not no_wait,
        )
    else:
        print_left_out(console, plan)
    _finish(console, plan)


def _shares(
    plan: "Plan", device: str, runs_per_gpu: int | None, retry_failed: bool
) -> "list[Share]":
    """How many runs each GPU takes; empty on a CPU."""
    from cellbench.sweeps.demand import demand_of
    from cellbench.sweeps.gpus import share_gpus, visible_gpus
    from cellbench.sweeps.slots import cores

    gpus = visible_gpus(device)
    if not gpus:
        return []
    products = {gpu.product for gpu in gpus}
    demand = demand_of(plan, products=products, retry_failed=retry_failed)
    return share_gpus(gpus, runs_per_gpu=runs_per_gpu, demand=demand, cores=cores())


def _local(plan: "Plan", slots: "Sequence[Slot]") -> "Executor":
    """This machine; where there are several runs, they are forked from one process."""
    from cellbench.sweeps import preload
    from cellbench.sweeps.executors import LocalExecutor
    from cellbench.sweeps.plan import State

    missing = plan.in_state(State.MISSING) + plan.in_state(State.FAILED)
    threads = {k: v for k, v in slots[0].environment.items() if k != "CUDA_VISIBLE_DEVICES"}
    server = None
    if len(missing) > 1:
        server = preload.start_server((run.experiment.config for run in missing), threads)
    return LocalExecutor(slots, server=server)


def _ray(
    device: str,
    jobs: int | None,
    runs_per_gpu: int,
    address: str | None,
    cpus_per_run: int | None,
    store: "Path",
) -> "Executor":
    from cellbench.sweeps.ray_executor import RayExecutor

    return RayExecutor(
        store,
        address=address,
        jobs=jobs,
        cpus_per_run=cpus_per_run,
        runs_per_gpu=runs_per_gpu,
        on_gpu=device in ("auto", "cuda"),
    )


def _run(
    plan: "Plan",
    executor: "Executor",
    view: Any,
    *,
    device: str,
    stall_timeout_s: float,
    retry_failed: bool,
    wait_for_others: bool,
) -> None:
    from cellbench.sweeps.sweep import Sweep
    from cellbench.sweeps.tasks import task_of

    def task_for(run: "PlannedRun") -> "Task":
        return task_of(run, plan.store, device=device, stall_timeout_s=stall_timeout_s)

    # What a cluster sends before it takes a machine away is a Ctrl-C too.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with view:
            Sweep(
                plan,
                executor,
                task_for,
                view=view,
                retry_failed=retry_failed,
                wait_for_others=wait_for_others,
            ).run()
    finally:
        executor.close()
        signal.signal(signal.SIGTERM, before)


def _finish(console: Any, plan: "Plan") -> None:
    """The tables, then what is not in them."""
    from cellbench.cli.plan_view import print_outcome
    from cellbench.sweeps.plan import State

    print_outcome(console, plan)
    failed = plan.in_state(State.FAILED)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(plan.runs)} runs failed, for the reasons above; the same "
            "command with --retry-failed starts them again."
        )
