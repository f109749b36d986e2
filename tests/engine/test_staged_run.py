"""Claims about a method of two stages, from its first step to its record."""

import dataclasses
from typing import ClassVar

import pytest
import torch

from cellbench.engine.average import WeightAverage
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.work_progress import Display
from cellbench.models.counter import Stage
from cellbench.models.point_counter import PointCounter
from cellbench.records.record_file import differing_keys


class HeadThenTrunk(PointCounter):
    """The point counter, its head trained before the rest; remembers in a buffer what it heard."""

    told: ClassVar[list[tuple[str, float]]] = []

    def __init__(self, **parts):
        super().__init__(**parts)
        self.register_buffer("policy_steps", torch.zeros((), dtype=torch.int64))

    @property
    def stages(self):
        return (Stage("head", share=2.0, trained=("head.",)), Stage("all", share=3.0))

    def begin_step(self, stage, progress):
        self.told.append((stage, progress))
        self.policy_steps += stage == "all"


def request(**changes):
    overrides = (
        "model.type=HeadThenTrunk", "model.backbone.strides=[2, 4]", "model.backbone.weights=None",
        "model.backbone.frozen_stages=0", "data.batch_size=2", "data.input_scale=0.5",
        "data.augment.0.size=64", "schedule.validations=2",
    )  # fmt: skip
    base = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", epochs=5)
    return dataclasses.replace(base, overrides=overrides, **changes)


@pytest.fixture
def staged(bench, monkeypatch):
    from cellbench.registry import COUNTERS

    monkeypatch.setitem(COUNTERS.module_dict, "HeadThenTrunk", HeadThenTrunk)
    monkeypatch.setattr(HeadThenTrunk, "told", [])
    return bench


@pytest.mark.slow
def test_a_run_killed_in_its_second_stage_goes_on_to_the_record_of_an_unbroken_one(staged):
    unbroken = run(request())
    told = list(HeadThenTrunk.told)
    assert [stage for stage, _ in told] == ["head"] * 4 + ["all"] * 6
    steps = [point["step"] for point in unbroken.record["curve"]]
    assert steps[-1] == 10
    assert min(steps) > 4

    HeadThenTrunk.told.clear()
    store = str(staged / "broken")

    def interrupt(done, loss, mae):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(store=store), Display(step=interrupt))
    resumed = run(request(store=store))
    assert HeadThenTrunk.told[6:] in (told[5:], told[6:])  # the step that was stopped comes again
    assert differing_keys(resumed.record, unbroken.record) == []


def test_the_next_stage_begins_with_the_average_that_the_last_one_left(staged, monkeypatch):
    seen = []
    monkeypatch.setattr(
        WeightAverage,
        "hand_over",
        lambda self, honest=WeightAverage.hand_over: (
            seen.append(len(HeadThenTrunk.told)),
            honest(self),
        ),
    )
    run(request(no_test=True))
    assert seen == [4]  # once, after the four steps of the first stage


def test_a_stage_hears_how_far_it_is(staged):
    run(request(no_test=True))
    heard = [("head", n / 4) for n in range(4)] + [("all", n / 6) for n in range(6)]
    assert HeadThenTrunk.told == heard


def test_a_budget_times_every_stage(staged, monkeypatch):
    # Time enough for all steps that are timed, and one step to train, on a machine of any speed.
    for name, value in {"MEASURING": 1000.0, "_TIMED_S": 0.0, "FEWEST_STEPS": 1}.items():
        monkeypatch.setattr(f"cellbench.engine.budget.{name}", value)
    asked = dataclasses.replace(request(), epochs=None, budget_s=1.0)
    run(dataclasses.replace(asked, no_test=True))
    timed = [stage for stage, _ in HeadThenTrunk.told[:16]]
    assert timed == ["head"] * 8 + ["all"] * 8
