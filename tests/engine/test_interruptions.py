"""Kill a run anywhere: it goes on to the record that an unbroken one gives."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellbench.records.record_file import differing_keys, find_record, read_record

pytestmark = pytest.mark.slow

COMMAND = (
    "configs/dla_adi.py", "--dataset", "adi-sim", "--protocol", "smoke", "--epochs", "20",
    "--set", "model.backbone.strides=[2,4]", "--set", "model.backbone.weights=None",
    "--set", "model.backbone.frozen_stages=0", "--set", "data.batch_size=2",
    "--set", "data.input_scale=0.5", "--set", "data.augment.0.size=64",
    "--set", "schedule.validations=16",
)  # fmt: skip


def start(store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cellbench", "run", *COMMAND, "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CELLBENCH_OFFLINE": "1"},
    )


def only_record(store: Path) -> dict:
    [file] = store.glob("leaderboards/records/adi-sim/*.json")
    return read_record(file)


def test_ten_kills_at_random_moments_leave_the_record_of_an_unbroken_run(bench):
    began = time.monotonic()
    whole = start(bench / "whole")
    said, _ = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    took = time.monotonic() - began

    chance = random.Random(7)
    store = bench / "broken"
    kills = resumed = 0
    while kills < 10:
        process = start(store)
        # From the first import to the last write: anywhere in the time that a whole run takes.
        deadline = time.monotonic() + chance.uniform(0.1, 1.0) * took
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        resumed += bool(list(store.rglob("last.pth")))
        for file in store.glob("leaderboards/records/adi-sim/*.json"):
            read_record(file)  # never half a record
    assert resumed, "no kill came after the first checkpoint"
    last = start(store)
    said, _ = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert differing_keys(only_record(store), only_record(bench / "whole")) == []
    run_id = only_record(store)["run_id"]
    assert find_record(store, run_id).stem.endswith(run_id[:16])


def test_ctrl_c_says_one_sentence_and_loses_nothing(bench):
    process = start(bench)
    for line in process.stdout:
        if "step" in line:
            break
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    again = start(bench)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert only_record(bench)["iterations"] == 40


def test_two_processes_of_torchrun_train_together_and_leave_one_record(bench):
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "cellbench", "run", *COMMAND, "--epochs", "2", "--store", str(bench),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "CELLBENCH_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = only_record(bench)
    assert record["environment"]["processes"] == 2
    assert record["iterations"] == 4


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(bench):
    # No file may grow over 1 MiB: what a write meets on a full disk, without filling one.
    done = subprocess.run(
        [
            "bash", "-c", 'ulimit -f 1024; exec "$@"', "bash", sys.executable, "-m", "cellbench",
            "run", *COMMAND, "--store", str(bench),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "CELLBENCH_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*bench.rglob("*.tmp"), *bench.rglob("*.safetensors"), *bench.rglob("*.pth")]
    last = start(bench)
    said, _ = last.communicate(timeout=600)
    assert last.returncode == 0, said
