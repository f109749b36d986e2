"""Claims about batches that other processes prepare."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellbench.data import workers
from cellbench.data.workers import choose_workers, cores_of_run, prefetch_in_processes
from cellbench.errors import UserError


def square(item):
    return item * item


def where(item):
    time.sleep(0.02)
    return os.getpid()


def no_three(item):
    if item == 3:
        raise UserError("no three")
    return 2 * item


def dies_at_five(item):
    """Where it is not the caller."""
    if item == 5 and "spawn_main" in Path("/proc/self/cmdline").read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return item


def test_results_come_in_order_whatever_the_number_of_processes():
    for count in (1, 3):
        assert list(prefetch_in_processes(square, range(200), workers=count)) == [
            item * item for item in range(200)
        ]


def test_the_first_results_need_no_process_and_later_ones_come_from_them():
    found = list(prefetch_in_processes(where, range(400), workers=2))
    assert found[0] == os.getpid()
    others = [pid for pid in found if pid != os.getpid()]
    assert found[-len(others) :] == others
    assert len(set(others)) == 2


def test_an_error_is_raised_where_its_result_would_have_come():
    results = prefetch_in_processes(no_three, range(6), workers=1)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(UserError, match="no three"):
        next(results)


def test_a_killed_process_costs_no_result():
    assert list(prefetch_in_processes(dies_at_five, range(12), workers=1)) == list(range(12))


def test_what_cannot_be_sent_is_computed_here():
    here = os.getpid()
    assert list(prefetch_in_processes(lambda item: (item, os.getpid()), range(5), workers=2)) == [
        (item, here) for item in range(5)
    ]


def children():
    found = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(found.read_text().split())


def test_closing_the_iterator_ends_the_processes():
    before = children()
    results = prefetch_in_processes(where, iter(int, 1), workers=2)  # without end
    while next(results) == os.getpid():
        pass
    results.close()
    left = [
        pid for pid in children() - before
        if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()
    ]  # fmt: skip
    assert left == []


def test_processes_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_workers import *\n"
        "for pid in prefetch_in_processes(where, iter(int, 1), workers=1):\n"
        "    if pid != os.getpid(): print(pid, flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.stdout.close()
    parent.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline, "it lives"
        time.sleep(0.05)


def test_a_worker_process_does_not_load_torch():
    code = (
        "import sys, cellbench.data.training_set, cellbench.data.stored_set\n"
        "import cellbench_plugins.transforms.colour, cellbench_plugins.transforms.stain\n"
        "import cellbench_plugins.transforms.crop, cellbench_plugins.transforms.orientation\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("wanted", "on_gpu", "cores", "expected"),
    [
        (None, False, 64, 0), (None, True, 2, 0), (None, True, 4, 1), (None, True, 16, 4),
        (None, True, 64, 4), (0, True, 64, 0), (3, False, 1, 3),
    ],
)  # fmt: skip
def test_processes_are_chosen_by_device_and_cores(wanted, on_gpu, cores, expected, monkeypatch):
    monkeypatch.setattr(workers, "cores_of_run", lambda: cores)
    assert choose_workers(wanted, on_gpu=on_gpu) == expected


def test_a_run_of_several_counts_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert cores_of_run() == 16
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cores_of_run() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert cores_of_run() == 4


def test_a_batch_is_the_same_from_every_source():
    from test_pipeline import assert_same, training_set

    here = [training_set().batch(step) for step in range(40)]
    for count in (0, 1, 2):
        for one, two in zip(training_set().batches(0, 40, workers=count), here, strict=True):
            assert_same(one, two)
