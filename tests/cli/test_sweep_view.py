"""Claims about the time that a sweep says is left."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from cellbench.cli import plan_view, sweep_view
from cellbench.sweeps.plan import State
from cellbench.sweeps.reporting import Progress


class Sweep:
    """Three runs of a plan, a view without a terminal, and a clock that is set by hand."""

    def __init__(self, estimate_s):
        self.now = 1000.0
        self.text = io.StringIO()
        self.view = sweep_view.TerminalView(Console(file=self.text, width=200))
        self.runs = [
            SimpleNamespace(label=name, estimate_s=estimate_s, state=State.MISSING, record=None)
            for name in "abc"
        ]
        self.view.plan = SimpleNamespace(
            runs=self.runs, in_state=lambda state: [r for r in self.runs if r.state is state]
        )

    def after(self, seconds, run, **progress):
        self.now += seconds
        self.view.moved(run, Progress(steps=10, **progress))

    def train_and_score(self, run):
        """Ten steps of 6 s, of which the first is seen at its end, then 30 s of scoring."""
        self.view.started(run, "job 1")
        self.after(6, run, phase="training", step=1)
        self.after(54, run, phase="training", step=10)
        self.after(0, run, phase="scoring", step=10)
        self.now += 30
        run.state, run.record = State.DONE, SimpleNamespace(metrics={})
        self.view.ended(run, 90.0)

    def left(self):
        """The line that is said where there is no terminal."""
        self.text.truncate(0)
        self.view.said_at = 0.0
        self.view.tick()
        return self.text.getvalue().strip("\0\n")


@pytest.fixture
def sweep(monkeypatch):
    def make(estimate_s=None):
        made = Sweep(estimate_s)
        monkeypatch.setattr(sweep_view, "time", SimpleNamespace(monotonic=lambda: made.now))
        return made

    return make


def test_the_time_to_score_is_part_of_what_is_left(sweep):
    sweep = sweep()
    first, second, _ = sweep.runs
    sweep.train_and_score(first)
    sweep.view.started(second, "job 1")
    sweep.after(6, second, phase="training", step=1)
    sweep.after(24, second, phase="training", step=5)
    # five steps of 6 s and 30 s of scoring, then a whole run of 90 s
    assert "[1/3] about 2 min 30 s left. b: step 5/10" in sweep.left()
    sweep.after(30, second, phase="training", step=10)
    sweep.after(0, second, phase="scoring", step=10)
    assert "about 2 min 00 s left. b: scoring" in sweep.left()
    sweep.now += 20
    assert "about 1 min 40 s left" in sweep.left()


def test_a_first_run_that_is_scored_has_no_time_left_to_tell(sweep):
    sweep = sweep()
    first = sweep.runs[0]
    sweep.view.started(first, "job 1")
    sweep.after(6, first, phase="training", step=1)
    sweep.after(54, first, phase="training", step=10)
    sweep.after(0, first, phase="scoring", step=10)
    assert sweep.left() == "[0/3] a: scoring"


def test_the_plan_tells_until_it_is_over(sweep):
    sweep = sweep(estimate_s=80.0)
    first = sweep.runs[0]
    sweep.view.started(first, "job 1")
    sweep.after(60, first, phase="scoring", step=10)
    assert "about 3 min 00 s left" in sweep.left()
    sweep.now += 30
    assert sweep.left() == "[0/3] a: scoring"


def test_the_time_of_a_plan_says_how_many_runs_it_is_known_of():
    runs = [
        SimpleNamespace(label=name, estimate_s=seconds, state=State.MISSING)
        for name, seconds in (("a", 20.0), ("b", 20.0), ("c", None))
    ]
    plan = SimpleNamespace(
        runs=runs, in_state=lambda state: [r for r in runs if r.state is state], budgeted=False
    )
    said = plan_view._summary(plan, jobs=1)
    assert "(2 of them are known, the others are taken to last as long)" in said
    runs.pop()
    assert "known" not in plan_view._summary(plan, jobs=1)
