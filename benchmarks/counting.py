"""Speed of `cellbench count` relative to its network alone, on the same pictures.

    python benchmarks/counting.py --pictures 100 --edge 1000 --with nuclei-unet
    python benchmarks/counting.py --points 1000000

The network alone counts arrays in memory. `count` reads the files, compares them with the training
pictures, and writes tables and marked pictures. Both are timed alternately in one process. Printed
is the ratio of the fastest times, of wall time and of CPU time (the better one on a shared
machine), with the load of the machine. `--points` times the tables of one picture with this many
cells instead.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import cellbench
from cellbench.counting.count_rows import Counted
from cellbench.counting.count_tables import CountTables
from cellbench.counting.trained_counter import load_counter
from cellbench.records.trained_runs import find_trained
from cellbench.structures import Prediction


def main() -> None:
    """Time `count` and its network, or the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--edge", type=int, default=1000)
    parser.add_argument("--with", dest="model", default="nuclei-unet")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--points", type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellbench-counting-") as temporary:
        if asked.points:
            tables(Path(temporary), asked.points)
        else:
            pictures(Path(temporary), asked.pictures, asked.edge, asked.model, asked.turns)


def pictures(folder: Path, many: int, edge: int, model: str, turns: int) -> None:
    """Time the network and `count` alternately, and print both."""
    (folder / "photos").mkdir()
    arrays = [nuclei(edge, seed) for seed in range(many)]
    for index, array in enumerate(arrays):
        Image.fromarray(array).save(folder / "photos" / f"{index:04d}.png", compress_level=1)
    counter = load_counter(find_trained(model, None))
    counter.count(arrays[0])
    best: dict[str, tuple[float, float]] = {}
    for turn in range(turns):
        started = time.perf_counter(), time.process_time()
        for array in arrays:
            counter.count(array)
        keep(best, "network", started)
        started = time.perf_counter(), time.process_time()
        found = cellbench.count(folder / "photos", model, out=folder / f"counts{turn}")
        assert len(found.counts) == many
        keep(best, "count", started)
    for name, (wall, work) in best.items():
        print(f"{name}: {many / wall:.2f} pictures/s, {work / many:.3f} s of processor a picture")
    ratio, of_work = (a / b for a, b in zip(best["network"], best["count"], strict=True))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"ratio {ratio:.3f}, of the processor's time {of_work:.3f}; {os.cpu_count()} cores, load "
          f"{load}")  # fmt: skip


def keep(best: dict[str, tuple[float, float]], name: str, started: tuple[float, float]) -> None:
    """Update the fastest timing of a name."""
    took = time.perf_counter() - started[0], time.process_time() - started[1]
    best[name] = min(best.get(name, took), took)


def nuclei(edge: int, seed: int) -> np.ndarray:
    """Draw bright round nuclei on a dark, noisy background: (edge, edge, 3) uint8."""
    rng = np.random.default_rng(seed)
    grey = 12 + rng.normal(0, 2, (edge, edge))
    y, x = np.mgrid[-12:13, -12:13]
    spot = 150 * np.exp(-(((x**2 + y**2) / 60) ** 2))
    for column, row in rng.integers(12, edge - 13, (edge * edge // 4000, 2)):
        grey[row - 12 : row + 13, column - 12 : column + 13] += spot
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2)


def tables(folder: Path, many: int) -> None:
    """Time writing the cells of one picture, opening the tables again, and reading them."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 50_000, (many, 2)).astype(np.float32)
    found = Prediction(float(many), points, rng.uniform(0, 1, many).astype(np.float32))
    counted = Counted("a.png", float(many), None, (50_000, 50_000), many, "0" * 64)
    started = time.perf_counter()
    CountTables(folder / "counts", {}, {}).add(counted, found)
    written = time.perf_counter()
    again = CountTables(folder / "counts", {}, {"a.png": "0" * 64})
    opened = time.perf_counter()
    assert len(again.found(["a.png"])["a.png"].points) == many
    print(f"{many} cells: written in {written - started:.1f} s, opened again in "
          f"{opened - written:.1f} s, read in {time.perf_counter() - opened:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
