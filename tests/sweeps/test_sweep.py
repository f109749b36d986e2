"""Claims about whole sweeps, killed, stopped, doubled; their runs are those of fake_run.py."""

import json
import signal
import time

import pytest
from record_samples_light import light_record

from cellbench.sweeps.claims import holder_of
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.executors import Event, Executor
from cellbench.sweeps.failures import read_failure
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import State, make_plan
from cellbench.sweeps.process import TaskOutcome, TaskResult
from cellbench.sweeps.sweep import Sweep
from cellbench.sweeps.tasks import make_task


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_three_times_a_sweep_ends_with_every_run_once_and_one_named_failure(fake):
    fake.order(**{"r0.2_1": "crash", "r0.3_0": "hang once", "seconds": 0.2})
    arguments = ("--jobs", "2", "--stall-timeout", "6s")
    for target in (1, 4, 7):
        process = fake.start(*arguments)
        wait_for(lambda target=target: len(fake.lines("done.txt")) >= target)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, said = fake.run(*arguments)
    assert code == 1, said
    assert "Traceback" not in said
    assert len(fake.records()) == 11
    done = fake.lines("done.txt")
    assert len(set(done)) == 11
    assert "0.2 1" not in done
    [failure] = fake.left("failure.json")
    assert json.loads(failure.read_text())["run"] == "lr=0.2 on adi-sim, split 1"
    assert "The loss is nan at step 4" in said
    assert "1 of 12 runs failed" in said
    assert not any(holder_of(claim.parent) for claim in fake.left("claim.json"))


def test_a_second_call_starts_nothing_and_shows_the_tables_again(fake):
    code, first = fake.run("--splits", "0")
    assert code == 0, first
    started = fake.lines("started.txt")
    assert len(started) == 4
    code, second = fake.run("--splits", "0")
    assert code == 0
    assert fake.lines("started.txt") == started
    table = [line for line in second.splitlines() if line.startswith("│ lr=")]
    assert len(table) == 4
    assert all(line in first for line in table)


def test_a_failed_run_waits_for_retry_failed_and_takes_down_nothing(fake):
    fake.order(**{"r0.1_0": "crash"})
    assert fake.run("--splits", "0")[0] == 1
    assert len(fake.records()) == 3
    code, said = fake.run("--splits", "0")
    assert code == 1
    assert "Failed: lr=0.1 on adi-sim, split 0: The loss is nan" in said
    assert fake.lines("started.txt").count("0.1 0") == 1
    fake.order()
    code, said = fake.run("--splits", "0", "--retry-failed")
    assert code == 0, said
    assert len(fake.records()) == 4
    assert fake.left("failure.json") == []


@pytest.mark.slow
def test_a_run_that_hangs_is_stopped_twice_and_its_log_says_where(fake):
    fake.order(**{"r0.1_0": "hang"})
    code, said = fake.run("--splits", "0", "--stall-timeout", "4s")
    assert code == 1
    assert "it is started once more" in said
    assert "it showed no progress for 4 s at step 1" in said
    assert fake.lines("started.txt").count("0.1 0") == 2
    assert len(fake.records()) == 3
    [failure] = fake.left("failure.json")
    log = failure.with_name("log.txt").read_text()
    assert "fake_run.py" in log
    assert "most recent call first" in log


def test_two_sweeps_over_one_store_never_do_a_run_twice_and_both_end_with_all(fake):
    fake.order(seconds=0.1)
    sweeps = [fake.start("--splits", "0-1"), fake.start("--splits", "0-1")]
    said = [sweep.communicate(timeout=120)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    started = fake.lines("started.txt")
    assert len(started) == len(set(started)) == 8
    for text in said:
        assert sum(line.startswith("│ lr=") for line in text.splitlines()) >= 4
        assert "still" not in text


def test_ctrl_c_ends_the_runs_and_the_same_command_goes_on(fake):
    fake.order(**{"r0.1_0": "slow", "r0.2_0": "slow"})
    process = fake.start("--splits", "0", "--jobs", "2")
    wait_for(lambda: len(fake.lines("started.txt")) == 2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert fake.left("claim.json") == fake.left("failure.json") == []
    fake.order()
    code, said = fake.run("--splits", "0")
    assert code == 0, said
    assert len(fake.records()) == 4


class EndsWhenStopped(Executor):
    """One run at a time, which ends with a record; Ctrl-C arrives before, or never."""

    def __init__(self, write, *, interrupted):
        self.write, self.interrupted, self.keys = write, interrupted, []

    def free(self):
        return 1 - len(self.keys)

    def start(self, key, task):
        self.keys.append(key)
        return "here"

    def wait(self, timeout_s):
        if self.interrupted:
            raise KeyboardInterrupt
        record = str(self.write())
        return [Event(self.keys.pop(), TaskResult(TaskOutcome.DONE, 1.0, record=record))]

    def stop(self, *, at_once=False):
        self.interrupted = False


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("fault", ["truncated", "of another revision", ""])
def test_a_run_is_done_by_its_record_alone_also_where_it_ends_while_the_sweep_stops(
    fake, fault, interrupted
):
    plan = make_plan(load_grid(str(fake.grid)), GridOverrides(splits=(0,)), fake.store)
    plan.runs = plan.runs[:1]
    [run] = plan.runs

    def write():
        changed = {"manifest_hash": "0" * 64} if fault == "of another revision" else {}
        plain = run.experiment.config.plain()
        file = light_record(plain, dataset="adi-sim", store=fake.store, **changed)
        if fault == "truncated":
            file.write_text(file.read_text()[:200])
        return file

    sweep = Sweep(
        plan,
        EndsWhenStopped(write, interrupted=interrupted),
        lambda run: make_task(run, fake.store, device="cpu", stall_timeout_s=60.0),
    )
    try:
        sweep.run()
    except KeyboardInterrupt:
        assert interrupted
    assert run.state is (State.FAILED if fault else State.DONE)
    assert (run.record is None) == bool(fault)
    assert holder_of(run.folder) is None
    failure = read_failure(run.folder)
    if fault == "of another revision":
        assert failure.reason == "it saw another revision of adi-sim than is here"
    else:
        assert (failure is None) == (not fault)


def test_a_truncated_record_is_one_sentence_and_nothing_else_is_lost(fake):
    plan = make_plan(load_grid(str(fake.grid)), GridOverrides(splits=(0,)), fake.store)
    files = [
        light_record(run.experiment.config.plain(), dataset="adi-sim", store=fake.store)
        for run in plan.runs
    ]
    torn = files[0]
    torn.write_text(torn.read_text()[:200])
    code, said = fake.run("--splits", "0", "--dry-run")
    assert code == 0
    [complaint] = [line for line in said.splitlines() if line.startswith("cellbench: left out")]
    assert str(torn) in complaint
    assert "cut off" in complaint
    assert "4 runs: 3 done, 1 missing" in said


def test_a_folder_that_cannot_be_written_is_one_sentence(fake):
    fake.store.write_text("a file")
    code, said = fake.run("--splits", "0")
    assert code == 2
    assert "Traceback" not in said
    assert "could not be written (not a directory)" in said.splitlines()[-1]
    assert fake.lines("started.txt") == []
