"""Claims about slots of GPUs that are made up, and about runs that lack memory on them."""

import time

import pytest

from cellbench.sweeps import executors
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.executors import LocalExecutor
from cellbench.sweeps.failures import read_failure
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import State, make_plan
from cellbench.sweeps.process import TaskOutcome, TaskResult
from cellbench.sweeps.slots import Slot
from cellbench.sweeps.sweep import Sweep, View
from cellbench.sweeps.tasks import Task

NO_MEMORY = TaskResult(TaskOutcome.FAILED, 1.0, "it ran out of memory: CUDA", out_of_memory=True)


def gpu_slots(**runs):
    most = max(runs.values())
    return [
        Slot(f"GPU {name}", {}, gpu=name)
        for turn in range(most)
        for name, count in runs.items()
        if turn < count
    ]


def a_task(name):
    return Task(
        label=name, dataset="adi", config="", protocol="v1", split=0, seed=0, device="cuda",
        store="", folder=name, stall_timeout_s=1.0,
    )  # fmt: skip


@pytest.fixture
def endings(monkeypatch):
    """What the runs come to, by the name of their task: a list that is used up; DONE after it."""
    orders = {}

    def supervise(task, **options):
        time.sleep(0.01)
        left = orders.get(task.label, [])
        return left.pop(0) if left else TaskResult(TaskOutcome.DONE, 1.0, record="record")

    monkeypatch.setattr(executors, "supervise", supervise)
    return orders


def finish(executor, count):
    found = []
    while len(found) < count:
        found += executor.wait(5.0)
    return found


def test_a_task_goes_to_the_gpu_with_the_fewest_runs(endings):
    executor = LocalExecutor(gpu_slots(a=2, b=2))
    places = [executor.start(str(n), a_task(str(n))) for n in range(3)]
    assert places == ["GPU a", "GPU b", "GPU a"]
    assert executor.free() == 1
    finish(executor, 3)
    assert executor.free() == 4


def test_runs_that_lack_memory_together_halve_the_number_once(endings):
    executor = LocalExecutor(gpu_slots(a=8, b=8))
    names = [str(n) for n in range(16)]
    for name in names:
        executor.start(name, a_task(name))
    finish(executor, 16)
    on_a = [name for name in names if executor._starts[name].slot.gpu == "a"]
    said = {executor.after_out_of_memory(name) for name in on_a}
    assert said == {"from now on 4 runs at a time on GPU a"}
    assert executor.free() == 12


def test_a_run_is_given_up_after_three_starts_or_after_two_alone(endings):
    executor = LocalExecutor(gpu_slots(a=4))
    answers = []
    for _ in range(3):
        executor.start("x", a_task("x"))
        finish(executor, 1)
        answers.append(executor.after_out_of_memory("x"))
    assert answers == [
        "from now on 2 runs at a time on GPU a", "from now on 1 run at a time on GPU a", None,
    ]  # fmt: skip
    alone = []
    for _ in range(2):
        executor.start("y", a_task("y"))
        finish(executor, 1)
        alone.append(executor.after_out_of_memory("y"))
    assert alone == ["from now on 1 run at a time on GPU a", None]


def test_on_a_cpu_a_lack_of_memory_is_a_failure(endings):
    executor = LocalExecutor([Slot("job 1"), Slot("job 2")])
    executor.start("x", a_task("x"))
    finish(executor, 1)
    assert executor.after_out_of_memory("x") is None


class Said(View):
    def __init__(self):
        self.lines, self.starts = [], []

    def say(self, text):
        self.lines.append(text)

    def started(self, run, place):
        self.starts.append((run.label, place))


def sweep(fake, endings, slots, lacking):
    """A sweep over four runs, of which the first lacks memory so often."""
    plan = make_plan(load_grid(str(fake.grid)), GridOverrides(splits=(0,)), fake.store)
    labels = [run.label for run in plan.runs]
    for label in labels:
        endings[label] = [TaskResult(TaskOutcome.STOPPED, 1.0, "enough")]
    endings[labels[0]] = [NO_MEMORY] * lacking + endings[labels[0]]
    said = Said()
    Sweep(plan, LocalExecutor(slots), lambda run: a_task(run.label), view=said).run()
    return plan, said


def test_a_run_that_lacks_memory_once_is_no_failed_run(fake, endings):
    plan, said = sweep(fake, endings, gpu_slots(a=4), lacking=1)
    assert not plan.in_state(State.FAILED)
    first = plan.runs[0]
    assert [label for label, _ in said.starts].count(first.label) == 2
    assert (
        f"{first.label} ran out of memory: from now on 2 runs at a time on GPU a, "
        "and it starts again."
    ) in said.lines
    assert list(fake.left("claim.json")) == []


def test_a_run_that_always_lacks_memory_fails_with_that_reason(fake, endings):
    plan, _ = sweep(fake, endings, gpu_slots(a=4), lacking=9)
    [failed] = plan.in_state(State.FAILED)
    assert failed is plan.runs[0]
    assert "out of memory" in read_failure(failed.folder).reason
    assert list(fake.left("claim.json")) == []
