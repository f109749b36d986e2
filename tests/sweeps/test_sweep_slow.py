"""Sweeps of real runs: the whole grid of components, and methods that crash and hang."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellbench.records.record_file import read_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONVS = ("Deformable", "MDGC", "Standard")
DECODERS = ("FPN", "GFD")
MATCHERS = ("Hungarian", "KHM")
SETS = ("adi-sim", "mbm-sim", "vgg-sim", "dcc-sim")

# The shipped method without its deep stages, and one pass over four small images.
METHOD = f"""\
_base_ = ["{ROOT}/configs/methods/dla.py"]
model = dict(backbone=dict(strides=[2, 4], weights=None, frozen_stages=0))
schedule = dict(validations=1)
"""
DATA = f"""\
_base_ = ["{ROOT}/configs/datasets/{{name}}.py"]
data = dict(epochs=1, batch_size=2, crops_per_image=1, input_scale=0.25,
            augment=[dict(type="RandomCrop", size=32)])
"""

# A package as a third party would install it, of matchers that nobody would want.
PLUGIN = '''\
import os, time
from cellbench.registry import MATCHERS
from cellbench_plugins.matchers.hungarian import Hungarian


@MATCHERS.register_module()
class Crashing(Hungarian):
    """Takes its process down, as a lack of memory does."""

    def __init__(self) -> None:
        super().__init__()

    def match(self, *args, **options):
        os.kill(os.getpid(), 9)


@MATCHERS.register_module()
class Hanging(Hungarian):
    """Hangs, but only the first time."""

    def __init__(self) -> None:
        super().__init__()

    def match(self, *args, **options):
        if not os.path.exists(os.environ["HUNG"]):
            open(os.environ["HUNG"], "w").close()
            time.sleep(3600)
        return super().match(*args, **options)
'''


@pytest.fixture
def place(tmp_path, home):
    """A working folder whose own configs are found before the shipped ones."""
    (tmp_path / "configs" / "methods").mkdir(parents=True)
    (tmp_path / "configs" / "datasets").mkdir()
    (tmp_path / "configs" / "methods" / "dla.py").write_text(METHOD)
    for name in ("adi", "mbm", "vgg", "dcc"):
        (tmp_path / "configs" / "datasets" / f"{name}.py").write_text(DATA.format(name=name))
    return tmp_path


def start(place, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "cellbench", "compare", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=place,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def finish(process, timeout_s=3600):
    said, _ = process.communicate(timeout=timeout_s)
    return process.returncode, said


def test_the_whole_grid_runs_on_simulated_sets_and_a_second_call_only_shows_it(place):
    arguments = (
        "--datasets", ",".join(SETS), "--splits", "0", "--protocol", "smoke", "--jobs", "2",
    )  # fmt: skip
    code, said = finish(start(place, *arguments))
    assert code == 0, said
    records = list(place.glob("leaderboards/records/*/*.json"))
    assert len(records) == 48
    assert len({read_record(file)["run_id"] for file in records}) == 48
    for name in SETS:
        found = [read_record(f) for f in place.glob(f"leaderboards/records/{name}/*.json")]
        assert len({record["iterations"] for record in found}) == 1
        assert all(record["metrics"]["f1"] is not None for record in found)
        # Each combination ran with its own parts, and with no other's.
        used = {
            tuple(
                p["name"] for p in record["plugins"] if p["role"] in ("conv", "decoder", "matcher")
            )
            for record in found
        }
        assert used == set(itertools.product(CONVS, DECODERS, MATCHERS))
    logs = {log: log.stat().st_mtime_ns for log in place.glob("runs/sweeps/*/*/log.txt")}
    assert len(logs) == 48
    code, again = finish(start(place, *arguments))
    assert code == 0, again
    assert {log: log.stat().st_mtime_ns for log in logs} == logs
    tables = [line for line in again.splitlines() if line.startswith("│ ")]
    assert len(tables) == 48
    assert [line for line in said.splitlines() if line.startswith("│ ")][-48:] == tables


def test_a_crash_takes_down_its_run_alone_a_hang_is_mended_and_a_kill_loses_no_step(place):
    site = place / "site"
    (site / "unwanted-1.0.dist-info").mkdir(parents=True)
    (site / "unwanted.py").write_text(PLUGIN)
    (site / "unwanted-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: unwanted\nVersion: 1.0\n"
    )
    (site / "unwanted-1.0.dist-info" / "entry_points.txt").write_text(
        "[cellbench.plugins]\nunwanted = unwanted\n"
    )
    grid = place / "unwanted_grid.py"
    grid.write_text(
        'base = "methods/dla.py"\ndatasets = ["adi-sim"]\nsplits = [0]\nprotocol = "smoke"\n'
        'axes = [dict(key="model.matcher.type", values=["Crashing", "Hanging", "KHM"])]\n'
    )
    environment = {"PYTHONPATH": str(site), "HUNG": str(place / "hung")}
    arguments = (str(grid), "--stall-timeout", "30s", "--epochs", "12")
    process = start(place, *arguments, **environment)
    # Killed in the middle of the last run, after a checkpoint.
    deadline = time.monotonic() + 900
    while not list(place.glob("runs/adi-sim/dla-smoke-*/last.pth")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, said = finish(start(place, *arguments, **environment))
    assert code == 1, said
    assert "1 of 3 runs failed" in said
    records = [read_record(file) for file in place.glob("leaderboards/records/*/*.json")]
    assert sorted(r["config"]["model"]["matcher"]["type"] for r in records) == ["Hanging", "KHM"]
    [file] = place.glob("runs/sweeps/*/*/failure.json")
    failure = json.loads(file.read_text())
    assert failure["run"] == "Crashing on adi-sim, split 0"
    assert "SIGKILL, as the system does when memory is all" in failure["reason"]
    assert "--set model.matcher.type=Crashing" in failure["command"]
    [hung] = place.glob("runs/sweeps/adi-sim/hanging-*/log.txt")
    assert "unwanted.py" in hung.read_text()  # where it hung


def test_a_forked_run_leaves_the_record_of_one_that_starts_alone(place):
    grid = place / "two.py"
    grid.write_text(
        'base = "methods/dla.py"\ndatasets = ["adi-sim"]\nsplits = [0]\nprotocol = "smoke"\n'
        'axes = [dict(key="model.matcher.type", values=["Hungarian", "KHM"])]\n'
    )
    code, said = finish(start(place, str(grid), "--store", "forked"))
    assert code == 0, said
    for file in place.glob("forked/runs/sweeps/*/*/config.py"):
        subprocess.run(
            [
                sys.executable, "-m", "cellbench", "run", str(file), "--protocol", "smoke",
                "--strict", "--store", "alone",
            ],
            cwd=place,
            check=True,
            capture_output=True,
        )  # fmt: skip
    forked, alone = (
        {f.name: read_record(f) for f in place.glob(f"{store}/leaderboards/records/*/*.json")}
        for store in ("forked", "alone")
    )
    assert len(forked) == 2
    assert forked.keys() == alone.keys()
    for name, record in forked.items():
        for key in record.keys() - {"timing", "environment", "content_hash"}:
            assert record[key] == alone[name][key], key
        assert record["environment"]["threads"] == alone[name]["environment"]["threads"]
