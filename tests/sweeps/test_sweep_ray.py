"""Claims about tasks on Ray; the slow one has a real Ray on this machine."""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cellbench.errors import UserError
from cellbench.hashes import is_intact
from cellbench.records.record_file import read_record
from cellbench.sweeps import ray_executor, ray_work
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import make_plan
from cellbench.sweeps.process import TaskOutcome
from cellbench.sweeps.ray_executor import RayExecutor
from cellbench.sweeps.ray_work import work
from cellbench.sweeps.tasks import Task, config_text

HERE = Path(__file__).parent


@pytest.fixture
def no_ray(monkeypatch):
    """What a task needs of Ray, without one."""
    monkeypatch.setattr(ray_work, "NEWS_S", 0.05)
    monkeypatch.setattr(
        ray_work, "import_ray", lambda: SimpleNamespace(get=lambda found, timeout: found)
    )


def board(stop=False):
    put = SimpleNamespace(remote=lambda key, progress: (stop, False))
    return SimpleNamespace(put=put)


def task(fake, monkeypatch):
    run = make_plan(load_grid(str(fake.grid)), GridOverrides(splits=(0,)), fake.store).runs[0]
    monkeypatch.setenv("FAKE_FOLDER", str(fake.folder))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return Task(
        label=run.label, dataset=run.dataset, config=config_text(run.experiment.config),
        protocol=run.experiment.protocol, split=0, seed=0, device="cpu", store=str(fake.store),
        folder=str(run.folder), stall_timeout_s=60.0,
        program=(sys.executable, str(HERE / "fake_run.py")),
    )  # fmt: skip


def test_a_node_without_the_heads_store_sends_its_record_back(fake, tiny_home, monkeypatch, no_ray):
    asked = task(fake, monkeypatch)
    ending = work(asked, "key", board(), (str(fake.store / "not here"), "token"))
    assert ending.end is TaskOutcome.DONE
    assert fake.records() == []
    assert Path(ending.record).is_relative_to(tiny_home / "ray")
    received = ray_executor._store_files(ending, asked)
    assert [Path(received.record)] == fake.records()
    assert is_intact(read_record(fake.records()[0]))


def test_a_node_with_the_heads_store_works_in_it(fake, monkeypatch, no_ray):
    marker = ray_executor._write_marker(fake.store)
    ending = work(task(fake, monkeypatch), "key", board(), marker)
    assert [Path(ending.record)] == fake.records()
    assert ending.files == {}


def test_a_failed_run_of_another_node_brings_its_log(fake, monkeypatch, no_ray):
    fake.order(**{"r0.1_0": "crash"})
    asked = task(fake, monkeypatch)
    ending = ray_executor._store_files(work(asked, "key", board(), ("nowhere", "token")), asked)
    assert ending.end is TaskOutcome.FAILED
    assert "The loss is nan at step 4" in ending.reason
    assert "The loss is nan" in (Path(asked.folder) / "log.txt").read_text()


def test_a_task_that_starts_after_the_wish_to_stop_does_nothing(fake, monkeypatch, no_ray):
    ending = work(task(fake, monkeypatch), "key", board(stop=True), ("nowhere", "token"))
    assert ending.end is TaskOutcome.STOPPED
    assert fake.lines("started.txt") == []


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'cellbench\[ray\]'"):
        RayExecutor(tmp_path)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_on_a_real_ray_a_killed_worker_a_crash_and_a_hang_leave_one_named_failure(fake):
    fake.order(**{"r0.2_1": "crash", "r0.3_0": "hang once", "r0.1_0": "slow"})
    process = fake.start("--executor", "ray", "--jobs", "2", "--stall-timeout", "15s")
    deadline = time.monotonic() + 300
    while not (left := list(fake.store.glob("runs/sweeps/adi-sim/lr-0-1-s0-*/child.json"))):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while "0.1 0" not in fake.lines("started.txt"):
        time.sleep(0.02)
    worker = parent_of(json.loads(left[0].read_text())["pid"])
    assert "ray" in Path(f"/proc/{worker}/cmdline").read_text()
    os.kill(worker, signal.SIGKILL)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert fake.lines("started.txt").count("0.1 0") == 2, "the killed one was not tried again"
    assert len(fake.records()) == 11
    assert len(set(fake.lines("done.txt"))) == 11
    [failure] = fake.left("failure.json")
    assert json.loads(failure.read_text())["run"] == "lr=0.2 on adi-sim, split 1"
    assert "1 of 12 runs failed" in said
    assert fake.left("claim.json") == []
    assert not list(fake.store.glob("runs/sweeps/.head-*"))
