"""Claims about runs that are forked from a process with the libraries imported."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cellbench.sweeps import fork_client
from cellbench.sweeps.claims import process_start
from cellbench.sweeps.fork_client import LOST, ForkServer, NoServerError
from cellbench.sweeps.process import Stop, TaskOutcome, supervise
from cellbench.sweeps.tasks import Task

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux")

HERE = Path(__file__).parent
TARGET = "fork_target:main"

# What a new interpreter does where the server is gone.
FALLBACK = """
import json, pathlib, sys
report = pathlib.Path(sys.argv[sys.argv.index("--report") + 1])
record = report.with_name("record.json")
record.write_text("{}")
report.write_text(json.dumps({"phase": "done", "step": 3, "record": str(record)}))
print("a new interpreter")
"""


def make_server(*modules, **environment):
    return ForkServer(
        ["fork_target", *modules],
        environment={"PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}", **environment},
        target=TARGET,
    )


@pytest.fixture(scope="module")
def server():
    server = make_server()
    yield server
    server.close()


@pytest.fixture
def own_server():
    """One that may be killed."""
    server = make_server()
    yield server
    server.close()


def run(server, folder, *arguments, environment=None):
    with (folder / "log.txt").open("ab") as log:
        process = server.start(arguments, log=log, environment=environment)
        process.wait(30)
    process.stdin.close()
    return process, (folder / "log.txt").read_text()


def task(folder, order, **changed):
    return Task(
        **{
            "label": "a run", "dataset": "adi", "config": order, "protocol": "v1", "split": 0,
            "seed": 0, "device": "cpu", "store": str(folder), "folder": str(folder / "run"),
            "stall_timeout_s": 60.0, "program": (sys.executable, "-c", FALLBACK), **changed,
        }
    )  # fmt: skip


def log(folder):
    file = folder / "run" / "log.txt"
    return file.read_text() if file.exists() else ""


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_forked_run_leads_a_session_and_sees_nothing_of_the_runs_before(server, tmp_path):
    first, said = run(server, tmp_path, "facts", environment={"GIVEN": "one"})
    second, both = run(server, tmp_path, "facts")
    one, two = json.loads(said), json.loads(both[len(said) :])
    assert (one["given"], two["given"]) == ("one", None)
    for facts, process in ((one, first), (two, second)):
        assert facts["pid"] == facts["session"] == facts["group"] == process.pid
        assert facts["server"] == server.pid
        assert facts["argv"] == ["cellbench", "facts"]
        assert facts["seen"] == 1
        assert facts["open"] == 4  # three streams, and the folder that is being listed
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["exits", "0"], 0, ""),
        (["exits", "130"], 130, ""),
        (["says", "cellbench: The disk is full."], 1, "cellbench: The disk is full."),
        (["raises"], 1, "ValueError: three  spaces"),
        (["killed"], -signal.SIGKILL, ""),
    ],
)
def test_a_forked_run_ends_with_the_exit_code_of_a_program(
    server, tmp_path, arguments, code, words
):
    process, said = run(server, tmp_path, *arguments)
    assert process.returncode == process.poll() == process.wait() == code
    assert words in said


def test_threads_are_set_in_the_process(tmp_path):
    server = make_server("fork_fake_torch")
    try:
        _, said = run(server, tmp_path, "facts", environment={"OMP_NUM_THREADS": "3"})
    finally:
        server.close()
    assert json.loads(said)["threads"] == 3


def test_a_module_that_fails_to_import_is_left_out(tmp_path):
    server = make_server("no_such_module", "fork_fake_torch")
    try:
        _, said = run(server, tmp_path, "facts", environment={"OMP_NUM_THREADS": "2"})
    finally:
        server.close()
    assert json.loads(said)["threads"] == 2


def test_a_sweep_watches_a_forked_run_to_its_record(server, tmp_path):
    ending = supervise(task(tmp_path, "done"), stop=Stop(), server=server)
    assert ending.end is TaskOutcome.DONE
    assert log(tmp_path).endswith("forked\n")
    left = json.loads((tmp_path / "run" / "child.json").read_text())
    assert left["pid"] != server.pid


@pytest.mark.parametrize(
    ("order", "reason"),
    [("raises", "ValueError: three spaces"), ("killed", "SIGKILL"), ("memory", "out of memory")],
)
def test_a_forked_run_without_a_record_has_failed_for_a_reason(server, tmp_path, order, reason):
    ending = supervise(task(tmp_path, order), stop=Stop(), server=server)
    assert ending.end is TaskOutcome.FAILED
    assert reason in ending.reason
    assert ending.out_of_memory == (order == "memory")


def test_asked_to_stop_a_forked_run_is_interrupted_as_by_ctrl_c(server, tmp_path):
    stop, endings = Stop(), []
    thread = threading.Thread(
        target=lambda: endings.append(supervise(task(tmp_path, "waits"), stop=stop, server=server))
    )
    thread.start()
    wait_for(lambda: "ready" in log(tmp_path))
    stop.asked.set()
    thread.join(30)
    assert endings[0].end is TaskOutcome.STOPPED
    assert "KeyboardInterrupt" in log(tmp_path)


def test_a_forked_run_that_hangs_is_ended_and_its_log_says_where(server, tmp_path):
    hanging = task(tmp_path, "waits", stall_timeout_s=2.0)
    ending = supervise(hanging, stop=Stop(), server=server)
    assert ending.end is TaskOutcome.HUNG
    assert "fork_target.py" in log(tmp_path)


def test_a_killed_server_takes_no_run_with_it(own_server, tmp_path):
    with (tmp_path / "log.txt").open("wb") as file:
        one, two = (own_server.start(["waits"], log=file) for _ in range(2))
    os.kill(own_server.pid, signal.SIGKILL)
    wait_for(lambda: not process_start(own_server.pid))
    assert one.poll() is two.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.2)
    one.kill()
    assert one.wait(30) == LOST
    one.stdin.close()
    assert two.poll() is None
    two.stdin.close()  # as a killed sweep's would
    assert two.wait(30) == LOST
    with (tmp_path / "log.txt").open("wb") as file, pytest.raises(NoServerError):
        own_server.start(["facts"], log=file)


def test_where_its_server_is_gone_a_run_starts_in_a_new_interpreter(own_server, tmp_path):
    own_server.close()
    assert supervise(task(tmp_path, "done"), stop=Stop(), server=own_server).end is TaskOutcome.DONE
    assert log(tmp_path).endswith("a new interpreter\n")


def test_a_start_that_waited_for_one_that_failed_asks_no_more(own_server, tmp_path, monkeypatch):
    """What the server answers late would be taken for the answer to the next question."""
    asked = []

    def never_answered(*given):
        asked.append(given)
        time.sleep(0.5)
        raise NoServerError("the server does not answer")

    monkeypatch.setattr(own_server, "_request_fork", never_answered)
    monkeypatch.setattr(own_server, "_wait_until_ready", lambda cancelled: None)
    said = []

    def start():
        with (tmp_path / "log.txt").open("ab") as file:
            try:
                own_server.start(["done"], log=file)
            except NoServerError as error:
                said.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert sorted(said) == ["the server does not answer", *["the server has ended"] * 2]


def test_a_run_whose_end_nobody_saw_is_started_once_more(own_server, tmp_path):
    endings = []
    asked = task(tmp_path, "waits")
    thread = threading.Thread(
        target=lambda: endings.append(supervise(asked, stop=Stop(), server=own_server))
    )
    thread.start()
    wait_for(lambda: "ready" in log(tmp_path))
    os.kill(own_server.pid, signal.SIGKILL)
    wait_for(lambda: not process_start(own_server.pid))
    os.kill(json.loads((tmp_path / "run" / "child.json").read_text())["pid"], signal.SIGKILL)
    thread.join(30)
    assert endings[0].end is TaskOutcome.DONE
    assert log(tmp_path).endswith("a new interpreter\n")


def test_server_and_runs_end_when_the_sweep_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from test_fork import *\n"
        "server = make_server(); print(server.pid, flush=True)\n"
        "supervise(task(Path(sys.argv[2]), 'waits'), stop=Stop(), server=server)\n"
    )
    sweep = subprocess.Popen(
        [sys.executable, "-c", code, str(HERE), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    server = int(sweep.stdout.readline())
    wait_for(lambda: "ready" in log(tmp_path) and (tmp_path / "run" / "child.json").exists())
    child = json.loads((tmp_path / "run" / "child.json").read_text())["pid"]
    assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1] == str(server)
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: not process_start(child))
    wait_for(lambda: not process_start(server))


def test_a_stop_while_the_server_still_imports_is_heard(tmp_path):
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(600)")
    server = ForkServer(["slow_import"], environment={"PYTHONPATH": str(tmp_path)}, target=TARGET)
    try:
        with (tmp_path / "log.txt").open("wb") as file, pytest.raises(NoServerError):
            server.start([], log=file, cancelled=lambda: True)
    finally:
        server.close()
    assert not process_start(server.pid)


def test_runs_are_not_forked_where_an_import_has_started_the_driver_of_a_gpu(tmp_path):
    server = make_server("fork_gpu_touched", GPUS="1")
    try:
        with pytest.raises(NoServerError, match="the server has ended"):
            server.wait_until_ready()
    finally:
        server.close()
    server = make_server("fork_gpu_touched", GPUS="0")  # which nothing is lost by
    try:
        process, _ = run(server, tmp_path, "exits", "3")
    finally:
        server.close()
    assert process.returncode == 3


def test_systems_without_a_safe_fork_have_no_server(monkeypatch):
    monkeypatch.setattr(fork_client.sys, "platform", "win32")
    with pytest.raises(NoServerError):
        make_server()
