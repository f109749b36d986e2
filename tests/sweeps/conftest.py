"""A home whose simulated ADI is eight tiny images, and sweeps of runs that train nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cellbench.data.set_writer import NewItem, write_set

HERE = Path(__file__).parent

GRID = """\
title = "Rates"
base = "methods/p2pnet.py"
axes = [dict(key="optimizer.lr", values=[0.1, 0.2, 0.3, 0.4])]
datasets = ["adi-sim"]
splits = [0, 1, 2]
protocol = "smoke"
"""


@pytest.fixture
def tiny_home(home):
    items = [
        NewItem(f"{i:04d}", np.full((4, 4, 3), i, np.uint8), (4, 4), np.ones((1, 2), np.float32))
        for i in range(8)
    ]
    write_set("adi-sim", items, source="a test", stands_for="adi", seed=0)
    return home


class FakeSweep:
    """`cellbench compare` over fake runs, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grid = folder / "rates.py"
        self.grid.write_text(GRID)
        self.store = folder / "store"
        self.order()

    def order(self, **orders: object) -> None:
        """What runs do: keys are `lr split`, underscored as in `r0.1_0`."""
        named = {k.removeprefix("r").replace("_", " "): v for k, v in orders.items()}
        (self.folder / "orders.json").write_text(json.dumps(named))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable, str(HERE / "fake_compare.py"), str(self.grid),
                "--store", str(self.store), *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "FAKE_FOLDER": str(self.folder),
                "PYTHONPATH": os.pathsep.join(
                    filter(None, (str(HERE), os.environ.get("PYTHONPATH")))
                ),
                "COLUMNS": "200",
            },
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def records(self) -> list[Path]:
        return sorted(self.store.glob("leaderboards/records/*/*.json"))

    def left(self, name: str) -> list[Path]:
        return sorted(self.store.glob(f"runs/sweeps/*/*/{name}"))


@pytest.fixture
def fake(tiny_home, tmp_path):
    return FakeSweep(tmp_path)
