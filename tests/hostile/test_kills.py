"""Kill a command just before any of its writes: said again, it leaves what an unbroken one does.

`CELLBENCH_KILLS` is how often each command is killed in all (5 by default; 25 for a campaign).
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellbench.records.record_file import differing_keys, read_record

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("CELLBENCH_KILLS", "5"))
IN_A_ROW = 5  # in one store, before the command may end
KILLED = Path(__file__).with_name("killed.py")
SMALL = (
    "--set", "model.backbone.strides=[2,4]", "--set", "model.backbone.weights=None",
    "--set", "model.backbone.frozen_stages=0", "--set", "data.batch_size=2",
    "--set", "data.input_scale=0.5", "--set", "data.augment.0.size=64",
    "--set", "schedule.validations=2",
)  # fmt: skip
GRID = """
title = "Two baselines"
methods = [
    dict(label="MeanCount", config="methods/meancount.py"),
    dict(label="BlobLoG", config="methods/bloblog.py"),
]
datasets = ["adi-sim"]
"""


@dataclass
class Desk:
    """Folders of one try: what commands write to, and what they read."""

    store: Path
    home: Path
    report: Path

    def say(self, *arguments: str, kill_at: int = 0) -> tuple[int, int]:
        """Run a command; its exit code and the number of its writes, 0 if it was killed."""
        self.report.unlink(missing_ok=True)
        folders = os.pathsep.join([str(self.store), str(self.home)])
        done = subprocess.run(
            [sys.executable, str(KILLED), str(kill_at), folders, str(self.report), *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "CELLBENCH_HOME": str(self.home), "CELLBENCH_OFFLINE": "1",
                 "CELLBENCH_STORE": str(self.store)},
        )  # fmt: skip
        if done.returncode not in (0, -9):
            pytest.fail(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.returncode, int(self.report.read_text()) if self.report.is_file() else 0


@pytest.fixture
def desk(tmp_path: Path, simulated_home: Path) -> Callable[[str], Desk]:
    def make(name: str) -> Desk:
        folder = tmp_path / name
        (folder / "store").mkdir(parents=True)
        (folder / "home" / "data").mkdir(parents=True)
        (folder / "home" / "data" / "adi-sim").symlink_to(simulated_home / "data" / "adi-sim")
        return Desk(folder / "store", folder / "home", folder / "writes.txt")

    return make


def files(folder: Path) -> set[str]:
    """Names of all files."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def records(desk: Desk) -> dict[str, dict]:
    found = (read_record(p) for p in desk.store.glob("leaderboards/records/**/*.json"))
    return {record["run_id"]: record for record in found}


def campaign(desk: Callable[[str], Desk], command: Callable[[Desk], tuple[str, ...]]) -> None:
    """Kill a command again and again; what it leaves at last is what an unbroken one leaves."""
    whole = desk("whole")
    code, writes = whole.say(*command(whole))
    assert code == 0
    assert writes > 3, "nothing was written where kills are aimed at"
    chance = random.Random(7)
    kills, tries = 0, 0
    while kills < KILLS:
        tries += 1
        broken = desk(f"broken-{tries}")
        for _ in range(min(IN_A_ROW, KILLS - kills)):
            code, _ = broken.say(*command(broken), kill_at=chance.randint(1, writes))
            kills += code == -9
        code, _ = broken.say(*command(broken))
        assert code == 0
        assert files(broken.store) == files(whole.store)
        # A cache is one file a store, made by whichever command reads the store again.
        caches = {name for name in files(broken.home) if name.startswith("cache/")}
        assert len(caches) <= 1
        assert files(broken.home) - caches == files(whole.home)
        wanted, found = records(whole), records(broken)
        assert found.keys() == wanted.keys()
        for run_id, record in wanted.items():
            assert differing_keys(found[run_id], record) == []
        for name in files(whole.store):
            if name.endswith((".csv", ".png", ".md")) and "records" not in name:
                assert (broken.store / name).read_bytes() == (whole.store / name).read_bytes(), name


def test_run(desk):
    command = ("run", "configs/dla_adi.py", "--dataset", "adi-sim", "--protocol", "smoke")
    campaign(desk, lambda _: (*command, "--epochs", "2", *SMALL))


def test_compare(desk, tmp_path):
    grid = tmp_path / "two.py"
    grid.write_text(GRID)
    campaign(desk, lambda _: ("compare", str(grid), "--protocol", "smoke", "--jobs", "1"))


def test_count(desk, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{name}.png")

    trained = desk("trained")
    asked = ("run", "configs/methods/bloblog.py", "--dataset", "adi-sim", "--protocol", "smoke")
    assert trained.say(*asked)[0] == 0
    (run,) = (trained.store / "runs" / "adi-sim").iterdir()

    def command(at: Desk) -> tuple[str, ...]:
        return ("count", str(photos), "--with", str(run), "--out", str(at.store / "counted"))

    campaign(desk, command)


def test_import(desk, tmp_path):
    raw = tmp_path / "cells"
    raw.mkdir()
    rng = np.random.default_rng(0)
    for index in range(1, 9):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
            raw / f"{index:03d}cell.png"
        )
        dots = np.zeros((64, 64, 3), dtype=np.uint8)
        dots[8 * index - 4, 10 : 10 + 4 * index : 4, 0] = 255
        Image.fromarray(dots).save(raw / f"{index:03d}dots.png")
    campaign(desk, lambda _: ("data", "import", "vgg", "--from", str(raw)))
    manifests = {
        json.dumps(json.loads(path.read_text()), sort_keys=True)
        for path in tmp_path.glob("*/home/data/vgg/manifest.json")
    }
    assert len(manifests) == 1
