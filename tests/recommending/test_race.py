"""Which methods go on, which are given up, and which is chosen, with trainings made up."""

import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cellbench.config.compose import resolve
from cellbench.errors import RunError, UserError
from cellbench.recommending import folds
from cellbench.recommending.candidates import LIGHT, Candidate
from cellbench.recommending.choice import RACE, choose
from cellbench.recommending.folds import CandidateResults, FoldRunner, exposures
from cellbench.recommending.race import Budget, race_networks, run_all_folds


class MadeUp:
    """Stands in for `FoldRunner`: errors of a method around a mean, without training."""

    def __init__(self, errors, cost=1.0, fails=(), spend=lambda seconds: None):
        self.errors, self.cost, self.fails, self.calls = errors, cost, fails, []
        self.spend = spend

    def run(self, raced, split, *, half=False):
        name = raced.candidate.name
        self.calls.append((name, split, raced.budget_s))
        if name in self.fails:
            raced.out = "A step takes 9 s here."
            return
        self.spend(raced.budget_s or 0.0)
        rng = np.random.default_rng([split, *name.encode()])
        for place in range(4):
            off = self.errors[name] + rng.normal(0, 0.1)
            image = {"id": f"{split}{place}", "truth": 20.0, "prediction": 20.0 + off}
            raced.images.append(image)
        raced.seconds.append(self.cost)
        raced.train_sizes.append(10)


def methods(*names, control=()):
    return [
        CandidateResults(Candidate(name, f"{name}.py", control=name in control)) for name in names
    ]


UNITS = {f"{s}{p}": f"{s}{p}" for s in range(5) for p in range(4)}


def budget_of(began, folds_s):
    return Budget(folds_s / RACE, began=began)


def race(raced, runner, seconds=1000.0, untrained=()):
    budget = budget_of(time.monotonic(), folds_s=seconds)
    race_networks(runner, raced, untrained, UNITS, budget, lambda text: None)


def test_what_is_clearly_worse_is_given_up_after_two_folds():
    raced, runner = methods("good", "bad"), MadeUp({"good": 1.0, "bad": 6.0})
    race(raced, runner)
    assert "Clearly worse than good after 2 of 5 folds" in raced[1].out
    assert [call[0] for call in runner.calls].count("bad") == 2
    assert [call[0] for call in runner.calls].count("good") == 5
    chosen, finalists = choose(raced, UNITS)
    assert [one.candidate.name for one in finalists] == ["good"]
    assert chosen is raced[0]


def test_a_network_that_is_clearly_worse_than_a_baseline_is_given_up():
    (baseline,), raced = methods("baseline"), methods("network")
    runner = MadeUp({"baseline": 1.0, "network": 6.0})
    run_all_folds(runner, baseline, budget_of(time.monotonic(), 1000.0), lambda text: None)
    race(raced, runner, untrained=[baseline])
    assert "Clearly worse than baseline after 2 of 5 folds" in raced[0].out


def test_every_fold_of_a_method_has_the_same_budget_and_all_fit_the_time(monkeypatch):
    clock = [0.0]

    def spend(seconds):
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    raced, runner = methods("a", "b", "c"), MadeUp({"a": 1.0, "b": 1.0, "c": 1.0}, spend=spend)
    race(raced, runner, seconds=900.0)
    budgets = {name: {b for n, _, b in runner.calls if n == name} for name in "abc"}
    assert all(len(own) == 1 for own in budgets.values())
    assert clock[0] == pytest.approx(900, abs=10)


def test_where_time_is_short_the_first_network_has_enough_and_the_others_none():
    raced, runner = methods("a", "b", "c"), MadeUp({"a": 1.0, "b": 1.0, "c": 1.0})
    race(raced, runner, seconds=300.0)
    assert raced[0].budget_s == pytest.approx(60, abs=2)  # 20 of an even share teach nothing
    assert {name for name, _, _ in runner.calls} == {"a"}
    assert "no time" in raced[1].out


def test_exposures_take_the_place_of_colours_and_of_nothing_else():
    (one,) = [each for each in LIGHT if each.exposures]
    changes = exposures(one, "nuclei")
    before = resolve(one.config, dataset="nuclei").data.augment
    after = resolve(one.config, dataset="nuclei", overrides=changes).data.augment
    assert [step["type"] for step in after] == [
        step["type"].replace("ColourJitter", "ExposureJitter") for step in before
    ]
    assert not exposures(Candidate("other", one.config), "nuclei")


def test_a_method_that_cannot_be_trained_leaves_its_time_to_the_others():
    raced, runner = methods("slow", "a"), MadeUp({"a": 1.0}, fails=("slow",))
    race(raced, runner, seconds=500.0)
    assert raced[0].out.startswith("A step takes")
    assert raced[1].budget_s == pytest.approx(100, abs=2)


def test_without_time_nothing_is_trained():
    raced, runner = methods("a"), MadeUp({"a": 1.0})
    race(raced, runner, seconds=10.0)
    assert not runner.calls
    assert "no time" in raced[0].out


def test_the_cheaper_of_two_that_cannot_be_told_apart_is_chosen():
    raced = methods("dear", "cheap", "mean", control=("mean",))
    runs = {"dear": (1.0, 300.0), "cheap": (1.01, 20.0), "mean": (0.9, 1.0)}
    for one in raced:
        error, cost = runs[one.candidate.name]
        runner = MadeUp({one.candidate.name: error}, cost)
        for split in range(5):
            runner.run(one, split)
    chosen, finalists = choose(raced, UNITS)
    assert chosen.candidate.name == "cheap"
    assert {one.candidate.name for one in finalists} == {"dear", "cheap"}


@pytest.mark.parametrize(
    ("errors", "seconds", "wanted"),
    [((1.0, 1.04), (5.0, 9.0), "steady"), ((1.0, 1.5), (5.0, 9.0), "other"),
     ((1.0, 1.04), (5.0, 90.0), "other")],
)  # fmt: skip
def test_of_two_that_cost_the_same_the_steady_one_is_chosen_unless_it_is_worse(
    errors, seconds, wanted
):
    raced = [
        CandidateResults(Candidate("other", "")),
        CandidateResults(Candidate("steady", "", steady=True)),
    ]
    for one, error, cost in zip(raced, errors, seconds, strict=True):
        runner = MadeUp({one.candidate.name: error}, cost)
        for split in range(5):
            runner.run(one, split)
    assert raced[0].mae < raced[1].mae
    assert choose(raced, UNITS)[0].candidate.name == wanted


def test_a_fold_that_was_finished_before_costs_what_its_record_says(monkeypatch):
    """The same command again would else plan a last training by the moment that reading takes."""
    record = {
        "images": [], "epochs": 60.0, "timing": {"train_s": 60.0, "test_s": 6.0},
    }  # fmt: skip
    found = SimpleNamespace(record=record, folder=Path("run"), fresh=False)
    monkeypatch.setattr("cellbench.engine.run.run", lambda *given, **named: found)
    monkeypatch.setattr(folds, "open_set", lambda name: None)
    parts = SimpleNamespace(train=["a"] * 12)
    monkeypatch.setattr(folds, "make_split", lambda *given, **named: parts)
    one = CandidateResults(Candidate("UNetPeaks", "methods/unetpeaks.py"), budget_s=80.0)
    FoldRunner("adi-sim", "cpu", None, print).run(one, 0)
    assert one.seconds == [66.0]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RunError("The loss was nan at step 7"), "The loss was nan"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory .* not suffice"),
        (MemoryError(), "memory .* not suffice"),
    ],
)
def test_a_method_that_fails_on_a_fold_is_out_and_the_others_go_on(monkeypatch, error, why):
    def fails(*given, **named):
        raise error

    monkeypatch.setattr("cellbench.engine.run.run", fails)
    one = CandidateResults(Candidate("UNetPeaks", "methods/unetpeaks.py"), budget_s=80.0)
    FoldRunner("adi-sim", "cpu", None, print).run(one, 0)
    assert re.search(why, one.out)


def test_a_mistake_in_a_method_is_not_taken_for_one_that_fails(monkeypatch):
    def wrong(*given, **named):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("cellbench.engine.run.run", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        FoldRunner("adi-sim", "cpu", None, print).run(CandidateResults(Candidate("DLA", "dla")), 0)


def test_no_method_at_all_is_one_sentence_with_the_reason():
    raced = methods("a")
    raced[0].out = "A step takes 9 s here."
    with pytest.raises(RunError, match="A step takes 9 s"):
        choose(raced, UNITS)


def test_a_baseline_whose_folds_do_not_fit_the_time_is_left_out_after_the_first():
    (one,), runner = methods("slow"), MadeUp({"slow": 1.0}, cost=50.0)
    now = time.monotonic()
    run_all_folds(runner, one, budget_of(now, 100.0), lambda text: None)
    assert len(runner.calls) == 1
    assert "do not fit the time" in one.out
    (one,), runner = methods("fast"), MadeUp({"fast": 1.0}, cost=1.0)
    now = time.monotonic()
    run_all_folds(runner, one, budget_of(now, 100.0), lambda text: None)
    assert len(runner.calls) == 5
    assert not one.out


def test_where_the_time_is_over_only_one_method_is_timed_and_says_what_would_do():
    raced, runner = methods("timed", "other"), MadeUp({"timed": 1.0, "other": 1.0}, cost=30.0)
    now = time.monotonic()
    over = budget_of(now - 50.0, folds_s=49.0)
    run_all_folds(runner, raced[0], over, lambda text: None, first=True)
    run_all_folds(runner, raced[1], over, lambda text: None)
    assert [call[0] for call in runner.calls] == ["timed"]
    with pytest.raises(
        UserError, match="the folds of timed take about 3 min here; give --budget 6m or"
    ):
        choose(raced, UNITS)
