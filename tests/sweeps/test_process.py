import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cellbench.sweeps import pulse
from cellbench.sweeps.claims import host_id, process_start
from cellbench.sweeps.failures import reason_for
from cellbench.sweeps.process import Stop, TaskOutcome, supervise
from cellbench.sweeps.pulse import HangMonitor
from cellbench.sweeps.tasks import Task

DONE = """
import json, pathlib, sys
report = pathlib.Path(sys.argv[sys.argv.index("--report") + 1])
record = report.with_name("record.json")
record.write_text("{}")
report.write_text(json.dumps({"phase": "done", "step": 3, "record": str(record)}))
"""

WAITS = """
import signal, sys, time
from cellbench.sweeps.reporting import stop_with_parent
stop_with_parent()
print("ready", flush=True)
time.sleep(600)
"""


def task(folder, program, **changed):
    return Task(
        **{
            "label": "a run", "dataset": "adi", "config": "x = 1\n", "protocol": "v1", "split": 0,
            "seed": 0, "device": "cpu", "store": str(folder), "folder": str(folder / "run"),
            "stall_timeout_s": 60.0, "program": (sys.executable, "-c", program), **changed,
        }
    )  # fmt: skip


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def log(folder):
    file = folder / "run" / "log.txt"
    return file.read_text() if file.exists() else ""


def child(folder):
    return json.loads((folder / "run" / "child.json").read_text())["pid"]


def test_a_run_that_leaves_its_record_is_done(tmp_path):
    ending = supervise(task(tmp_path, DONE), stop=Stop())
    assert ending.end is TaskOutcome.DONE
    assert Path(ending.record).name == "record.json"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('cellbench: The disk is full.')", "The disk is full"),
        ("raise ValueError('three  spaces')", "ValueError: three spaces"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL, as the system does when"),
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("raise MemoryError", "it ran out of memory: MemoryError"),
        ("raise SystemExit(3)", "its process ended with exit code 3 and said nothing"),
        ("pass", "its process ended well but left no record"),
    ],
)
def test_a_run_without_a_record_has_failed_for_a_reason(tmp_path, program, reason):
    ending = supervise(task(tmp_path, program), stop=Stop())
    assert ending.end is TaskOutcome.FAILED
    assert reason in ending.reason
    assert ending.record is None


def test_memory_is_named_on_a_gpu_too():
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    assert reason_for(1, said).startswith("it ran out of memory: torch.OutOfMemoryError")


def test_a_record_of_an_earlier_start_is_not_taken_for_this_ones(tmp_path):
    assert supervise(task(tmp_path, DONE), stop=Stop()).end is TaskOutcome.DONE
    assert supervise(task(tmp_path, "pass"), stop=Stop()).end is TaskOutcome.FAILED


def test_asked_to_stop_a_run_is_interrupted_as_by_ctrl_c(tmp_path):
    stop = Stop()
    endings = []
    thread = threading.Thread(
        target=lambda: endings.append(supervise(task(tmp_path, WAITS), stop=stop))
    )
    thread.start()
    wait_for(lambda: "ready" in log(tmp_path))
    stop.asked.set()
    thread.join(30)
    assert endings[0].end is TaskOutcome.STOPPED
    assert "KeyboardInterrupt" in log(tmp_path)


def test_a_run_ends_when_whoever_started_it_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from test_process import WAITS, task; from cellbench.sweeps.process import *\n"
        "supervise(task(Path(sys.argv[2]), WAITS), stop=Stop())\n"
    )
    here = str(Path(__file__).parent)
    parent = subprocess.Popen([sys.executable, "-c", code, here, str(tmp_path)])
    wait_for(lambda: "ready" in log(tmp_path) and (tmp_path / "run" / "child.json").exists())
    left = child(tmp_path)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not process_start(left))


def test_what_an_earlier_sweep_left_running_is_ended_first(tmp_path):
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (tmp_path / "run").mkdir()
    facts = {"pid": orphan.pid, "started": process_start(orphan.pid), "place": host_id()}
    (tmp_path / "run" / "child.json").write_text(json.dumps(facts))
    assert supervise(task(tmp_path, DONE), stop=Stop()).end is TaskOutcome.DONE
    assert orphan.wait(30) == -signal.SIGINT


def test_a_process_that_has_nothing_to_do_with_it_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    facts = {"pid": os.getpid(), "started": "1", "place": host_id()}
    (tmp_path / "run" / "child.json").write_text(json.dumps(facts))
    assert supervise(task(tmp_path, DONE), stop=Stop()).end is TaskOutcome.DONE


def report(folder, **progress):
    (folder / "progress.json").write_text(json.dumps(progress))


@pytest.mark.parametrize(
    ("progress", "busy", "stalled"),
    [
        ({"phase": "starting"}, True, False),
        ({"phase": "starting"}, False, True),
        ({"phase": "training", "step": 0}, True, False),
        ({"phase": "training", "step": 7}, True, True),
        ({"phase": "scoring", "step": 9}, True, False),
        ({"phase": "scoring", "step": 9}, False, True),
    ],
)
def test_computing_counts_as_progress_only_where_there_are_no_steps(
    tmp_path, monkeypatch, progress, busy, stalled
):
    clock = [0.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pulse, "cpu_s", lambda pid: clock[0] if busy else 0.0)
    watched = HangMonitor(1, tmp_path, timeout_s=60.0)
    report(tmp_path, **progress)
    assert watched.look().phase == progress["phase"]
    clock[0] = 59.0
    assert watched.look() is None
    assert not watched.stalled()
    clock[0] = 61.0
    assert watched.stalled() == stalled


def test_the_time_that_a_process_computes_is_its_own():
    began = pulse.cpu_s(os.getpid())
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert pulse.cpu_s(os.getpid()) >= began + 0.05
