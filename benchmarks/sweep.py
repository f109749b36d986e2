"""Overhead of `cellbench compare --jobs 1` over the same `cellbench run` commands, as a ratio.

    python benchmarks/sweep.py                 # six runs of 160 epochs on simulated ADI
    python benchmarks/sweep.py --epochs 200 --splits 1 --rounds 3

Both sides train the same combinations for the same number of epochs into empty stores, alternately,
so that other load affects both; the ratio is of the sums over all turns. A sweep adds its plan and
its report with all plots, five seconds once, and polls its runs twice a second. Measured are wall
time, and CPU time over all processes, parents and children, which is better on a shared machine.
"""

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import make_plan

CLOCKS = ("wall", "processor")
LIMIT = 1.03

GRID = """\
base = "methods/dla.py"
axes = [dict(key="model.matcher.type", values=["Hungarian", "KHM"]),
        dict(key="model.backbone.strides", values=[[2, 4]]),
        dict(key="model.backbone.weights", values=[None]),
        dict(key="model.backbone.frozen_stages", values=[0])]
datasets = ["adi-sim"]
protocol = "smoke"
"""


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--splits", type=int, default=3, help="two runs for each")
    parser.add_argument("--rounds", type=int, default=1, help="turns that each side gets")
    given = parser.parse_args()
    os.environ.setdefault("CELLBENCH_OFFLINE", "1")
    spent = {"run": np.zeros(len(CLOCKS)), "compare": np.zeros(len(CLOCKS))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("CELLBENCH_HOME", str(folder / "home"))
        grid = folder / "grid.py"
        grid.write_text(GRID)
        overrides = GridOverrides(epochs=given.epochs, splits=tuple(range(given.splits)))
        runs = make_plan(load_grid(str(grid)), overrides, folder).runs
        # Warm-up: draws the set, and reads every file of the libraries.
        cellbench(shlex.split(runs[0].command)[1:], folder / "first")
        for turn in range(given.rounds):
            for side in ("run", "compare") if turn % 2 == 0 else ("compare", "run"):
                began = now()
                if side == "run":
                    for run in runs:
                        cellbench(shlex.split(run.command)[1:], folder / f"run-{turn}")
                else:
                    splits = f"0-{given.splits - 1}"
                    more = ["--epochs", str(given.epochs), "--splits", splits, "--jobs", "1"]
                    cellbench(["compare", str(grid), *more], folder / f"compare-{turn}")
                seconds = now() - began
                spent[side] += seconds
                print(f"turn {turn + 1}, {side}: {seconds[0]:.1f} s", flush=True)
    count = len(runs) * given.rounds
    print(f"{count} runs of {given.epochs} epochs")
    for index, clock in enumerate(CLOCKS):
        run, compare = spent["run"][index], spent["compare"][index]
        ratio = compare / run
        met = "met" if ratio <= LIMIT else "missed"
        print(
            f"  {clock:9} run {run:.1f} s, compare {compare:.1f} s, "
            f"ratio {ratio:.3f} (at most {LIMIT}: {met})"
        )


def cellbench(arguments: list[str], store: Path) -> None:
    """Run a command to its end.

    Raises:
        CalledProcessError: it failed.
    """
    store.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "cellbench", *arguments, "--store", str(store)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def now() -> NDArray[np.float64]:
    """Return the seconds of each clock; CPU time is that of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.monotonic(), used.ru_utime + used.ru_stime])


if __name__ == "__main__":
    main()
