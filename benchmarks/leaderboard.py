"""Duration of `cellbench leaderboard` over ten thousand records.

Generates records of 100 images each in a temporary store, and prints the seconds that the command
takes as a process of its own, its start included, with an empty and with a warm cache:

    python benchmarks/leaderboard.py [--records 10000] [--methods 100] [--profile]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.hashes import config_hash, content_hash, run_id_of
from cellbench.metrics.scores import score
from cellbench.structures import CellSample, Prediction

IMAGES = 100
SPLITS = 5


def main() -> None:
    """Generate records, and time the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--methods", type=int, default=100)
    parser.add_argument("--profile", action="store_true", help="also print where a warm call is")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        generate(store, asked.records, asked.methods)
        os.environ |= {"CELLBENCH_HOME": str(store / "home"), "CELLBENCH_STORE": str(store)}
        print(f"{asked.records} records of {asked.methods} methods, {IMAGES} images each")
        for name, form in (("first call", "table"), ("table", "table"), ("json", "json")):
            times = [seconds(form) for _ in range(1 if name == "first call" else 5)]
            print(f"{name:>10}: {min(times):6.2f} s (of {len(times)}: {max(times):.2f} s at most)")
        if asked.profile:
            profile()


def seconds(form: str) -> float:
    """Measure the seconds of one call, from the start of its process to its end."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cellbench", "leaderboard", "--dataset", "adi", "--format", form],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def profile() -> None:
    """Print the profile of a call with a warm cache."""
    command = [sys.executable, "-m", "cProfile", "-s", "cumtime", "-m", "cellbench", "leaderboard"]
    done = subprocess.run(
        [*command, "--dataset", "adi"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if "function calls" in line)
    print("\n".join(lines[start : start + 45]))


def generate(store: Path, records: int, methods: int) -> None:
    """Write records that differ in method, split, seed and predictions."""
    folder = store / "leaderboards/records/adi"
    folder.mkdir(parents=True)
    (store / "home").mkdir()
    rng = np.random.default_rng(0)
    cells = rng.uniform(0, 150, (IMAGES, 150, 2)).astype(np.float32)
    truth = [CellSample(f"GTEX-{i:04d}", xy, (150, 150)) for i, xy in enumerate(cells)]
    base = score(truth, [Prediction(150.0, xy) for xy in cells], radius_px=4.0)
    values: dict[str, Any] = {
        "schema": 2, "method_title": "A method", "recipe": 1, "plugins": [], "dataset": "adi",
        "simulated": False, "manifest_hash": "m" * 64, "protocol": "v1", "iterations": 1000,
        "epochs": 10.0, "weights": {"source": "vgg16", "sha256": "e" * 64},
        "selection": {"rule": "val", "step": 900}, "thresholds": {}, "parameters": 1_000_000,
        "gflops": 1.0, "curve": [], "points": None, "environment": {}, "metrics": base.metrics,
        "timing": {"train_s": 100.0, "images_per_s": 3.0},
    }  # fmt: skip
    for index in range(records):
        method, rest = index % methods, index // methods
        split, seed = rest % SPLITS, rest // SPLITS
        off = rng.normal(0, 5 + method % 20, IMAGES)
        images = [
            row | {"prediction": row["truth"] + d} for row, d in zip(base.images, off, strict=True)
        ]
        config = {"method": method, "schedule": {}}
        own = values | {
            "method": f"m{method:05d}", "config": config, "config_hash": config_hash(config),
            "split": split, "seed": seed, "images": images,
        }  # fmt: skip
        own["run_id"] = run_id_of(own)
        own["content_hash"] = content_hash(own)
        name = f"m{method:05d}-v1-s{split}-r{seed}-{own['run_id'][:16]}.json"
        (folder / name).write_text(json.dumps(own))


if __name__ == "__main__":
    main()
