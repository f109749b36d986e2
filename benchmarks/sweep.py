"""What `cellbench compare --jobs 1` costs over the same `cellbench run` commands, as a ratio.

    python benchmarks/sweep.py                 # ten runs of 40 epochs on simulated ADI
    python benchmarks/sweep.py --epochs 200 --splits 1 --rounds 3
    python benchmarks/sweep.py --clock cpu     # on a machine that others use

Both sides train the same combinations for the same number of epochs into empty stores, in turns,
so that whatever else the machine does falls on both; the ratio is of the sums over all turns. A
sweep's own work is its plan and its report, once, and looking at its runs twice a second; the
clock of the processor counts that of all processes, parents and children.
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

from cellbench.sweeps.combinations import Wish
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import make_plan

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
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--splits", type=int, default=5, help="two runs for each")
    parser.add_argument("--rounds", type=int, default=1, help="turns that each side gets")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    given = parser.parse_args()
    os.environ.setdefault("CELLBENCH_OFFLINE", "1")
    spent = {"run": 0.0, "compare": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("CELLBENCH_HOME", str(folder / "home"))
        grid = folder / "grid.py"
        grid.write_text(GRID)
        wish = Wish(epochs=given.epochs, splits=tuple(range(given.splits)))
        runs = make_plan(load_grid(str(grid)), wish, folder).runs
        # Once beforehand: the set is drawn, and every file of the libraries has been read.
        cellbench(shlex.split(runs[0].command)[1:], folder / "first")
        for turn in range(given.rounds):
            for side in ("run", "compare") if turn % 2 == 0 else ("compare", "run"):
                began = now(given.clock)
                if side == "run":
                    for run in runs:
                        cellbench(shlex.split(run.command)[1:], folder / f"run-{turn}")
                else:
                    splits = f"0-{given.splits - 1}"
                    more = ["--epochs", str(given.epochs), "--splits", splits, "--jobs", "1"]
                    cellbench(["compare", str(grid), *more], folder / f"compare-{turn}")
                seconds = now(given.clock) - began
                spent[side] += seconds
                print(f"turn {turn + 1}, {side}: {seconds:.1f} s", flush=True)
    ratio = spent["compare"] / spent["run"]
    count = len(runs) * given.rounds
    print(f"{count} runs of {given.epochs} epochs, {given.clock} clock")
    for side, seconds in spent.items():
        print(f"  cellbench {side:8} {seconds:8.1f} s, {seconds / count:.2f} s a run")
    print(f"  ratio {ratio:.3f} (at most {LIMIT}: {'met' if ratio <= LIMIT else 'missed'})")


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


def now(clock: str) -> float:
    """Seconds on the wall, or of the processor over all processes that have ended."""
    if clock == "wall":
        return time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
