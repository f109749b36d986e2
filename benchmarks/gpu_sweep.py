"""Trainings an hour on one GPU or CPU by the number at a time, and the start time of a run.

    python benchmarks/gpu_sweep.py                           # 1, 4, 8 and 16 runs at a time
    python benchmarks/gpu_sweep.py --runs 32 --epochs 20 --at-once 8,16,24
    python benchmarks/gpu_sweep.py --device cpu --runs 2 --at-once 1 --epochs 1 --protocol smoke
    python benchmarks/gpu_sweep.py --new-interpreters        # without the process to fork from

For each number of runs at a time the executor of `cellbench compare` does the same short trainings,
one per seed, into an empty store. The start time of a run is from its request to its first batch;
its duration includes scoring, record and pictures. The process that runs are forked from imports
before the clock starts, as it does while a sweep prints its plan.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from cellbench.sweeps import preload, process
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.executors import LocalExecutor
from cellbench.sweeps.gpus import Share, visible_gpus
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import PlannedRun, State, make_plan
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.slots import Slot, make_slots
from cellbench.sweeps.sweep import Sweep, View
from cellbench.sweeps.tasks import Task, make_task

GRID = """\
base = "{config}"
axes = [dict(key="schedule.validations", values=[1])]
datasets = ["{dataset}"]
protocol = "{protocol}"
"""


class Clock(View):
    """Start times and durations of runs, from the events of a sweep."""

    def __init__(self) -> None:
        self.asked: dict[int, float] = {}
        self.start_s: dict[int, float] = {}
        self.run_s: list[float] = []

    def started(self, run: PlannedRun, place: str) -> None:
        """Store the time of the request."""
        self.asked[id(run)] = time.monotonic()

    def moved(self, run: PlannedRun, progress: Progress) -> None:
        """Store the start time at the first progress of the training."""
        if progress.phase != "starting" and id(run) not in self.start_s:
            self.start_s[id(run)] = time.monotonic() - self.asked[id(run)]

    def ended(self, run: PlannedRun, seconds: float) -> None:
        """Store the duration, or exit where the run failed."""
        self.run_s.append(seconds)
        if run.state is not State.DONE:
            raise SystemExit(f"{run.label}: {run.failure.reason if run.failure else run.state}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="methods/dla.py")
    parser.add_argument("--dataset", default="adi")
    parser.add_argument("--protocol", default="v1")
    parser.add_argument("--runs", type=int, default=16, help="for each number at a time")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--at-once", default="1,4,8,16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--new-interpreters", action="store_true")
    given = parser.parse_args()
    process._POLL_S = 0.05  # progress is polled often, so that start times are exact to 0.1 s
    for number in map(int, given.at_once.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            print(measure(given, number, Path(folder)), flush=True)


def measure(given: argparse.Namespace, number: int, folder: Path) -> str:
    """Time all runs, `number` at a time; return a line to print."""
    grid = folder / "grid.py"
    grid.write_text(
        GRID.format(config=given.config, dataset=given.dataset, protocol=given.protocol)
    )
    overrides = GridOverrides(epochs=given.epochs, splits=(0,), seeds=tuple(range(given.runs)))
    plan = make_plan(load_grid(str(grid)), overrides, folder)
    if problem := next((each.problem for each in plan.sets if each.problem), ""):
        raise SystemExit(problem)
    slots = slots_for(number, given.device)
    began = time.monotonic()
    server = None
    if not given.new_interpreters:
        server = preload.start_server(
            (run.experiment.config for run in plan.runs), slots[0].environment
        )
        if server is not None:
            server.wait_until_ready()
    imports_s = time.monotonic() - began
    clock, executor = Clock(), LocalExecutor(slots, server=server)

    def task_for(run: PlannedRun) -> Task:
        return make_task(run, plan.store, device=given.device, stall_timeout_s=600.0)

    began = time.monotonic()
    try:
        Sweep(plan, executor, task_for, view=clock).run()
    finally:
        executor.close()
    seconds = time.monotonic() - began
    starts = sorted(clock.start_s.values())
    how = "new interpreters" if server is None else f"forked, {imports_s:.1f} s of imports before"
    return (
        f"{len(slots):3} at a time: {3600 * given.runs / seconds:7.1f} runs an hour; a run takes "
        f"{statistics.median(clock.run_s):.1f} s, of which {statistics.median(starts):.2f} s "
        f"(at most {starts[-1]:.2f}) to its first batch ({how})"
    )


def slots_for(number: int, device: str) -> list[Slot]:
    """Return `number` slots, on the first GPU if there is one."""
    shares = [Share(gpu, number) for gpu in visible_gpus(device)[:1]]
    return make_slots(jobs=number, shares=shares)


if __name__ == "__main__":
    main()
