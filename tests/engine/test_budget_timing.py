"""What a budget is fitted to: steps and inference, timed by a clock of the tests' own."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_training import Pictures, training, whole
from torch import nn

from cellbench.data.whole_images import WholeImages
from cellbench.engine import budget
from cellbench.engine.devices import ALONE
from cellbench.engine.schedule import StepTimings, fit_budget
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.models.counter import Stage


class FakeClock:
    """A monotonic clock that goes on only where a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(budget, "time", fake)
    return fake


def limit(clock, seconds):
    return budget.Clock(clock.now, seconds, torch.device("cpu"))


class Staged(nn.Module):
    """A counter as far as timing needs one: a weight, and stages that steps take seconds in."""

    def __init__(self, stage_s, clock):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.stages = tuple(Stage(name) for name in stage_s)
        self.stage_s = stage_s
        self.clock = clock
        self.stage, self.done = "", []

    def begin_step(self, stage, progress):
        self.stage = stage


@pytest.fixture
def staged(clock, monkeypatch):
    """Makes a training whose steps take the given seconds in each stage."""

    class Update:
        def __init__(self, counter, optimizer, **options):
            self.counter = counter

        def forget_capture(self):
            self.counter.done.append("capture anew")

        def __call__(self, data, *, seed):
            self.counter.clock.now += self.counter.stage_s[self.counter.stage]
            self.counter.done.append(self.counter.stage)
            return torch.zeros(())

    monkeypatch.setattr(budget, "TrainingStep", Update)
    batch = {"arrays": [np.zeros((8, 4, 3), np.uint8)] * 2}
    train = SimpleNamespace(batches=lambda first, stop, **options: iter([batch] * stop))
    return lambda **stage_s: SimpleNamespace(
        counter=Staged(stage_s, clock),
        train=train,
        config=SimpleNamespace(optimizer=None),
        device=torch.device("cpu"),
        precision="float32",
        workers=0,
        processes=SimpleNamespace(rank=0, world=1),
    )


def test_fast_steps_are_timed_several_times_in_every_stage(staged, clock):
    training = staged(trunk=0.5, policy=0.125)
    stage_s, pixels = budget.time_steps(training, limit(clock, 1000), lambda done: None)
    assert stage_s == pytest.approx((0.5, 0.125))
    assert pixels == 64
    assert training.counter.done.count("trunk") == 8
    assert training.counter.done.count("policy") > 8


@pytest.mark.parametrize("limit_s", [0.1, 6, 20, 45])
def test_timing_stops_after_the_step_that_reaches_the_limit(staged, clock, limit_s):
    training = staged(trunk=10.0, policy=1.0)
    began = clock.now
    budget.time_steps(training, limit(clock, limit_s), lambda done: None)
    assert clock.now - began <= limit_s + 10.0
    assert training.counter.done


def test_a_stage_without_time_is_taken_to_be_as_slow_as_the_slowest(staged, clock):
    training = staged(trunk=10.0, policy=1.0)
    stage_s, _ = budget.time_steps(training, limit(clock, 5), lambda done: None)
    assert training.counter.done == ["capture anew", "trunk", "capture anew"]
    assert stage_s == (10.0, 10.0)


def test_every_stage_gets_its_part_of_the_time(staged, clock):
    training = staged(trunk=1.0, policy=1.0)
    budget.time_steps(training, limit(clock, 6), lambda done: None)
    anew = ["capture anew"]  # in each stage other parameters learn
    assert training.counter.done == anew + ["trunk"] * 3 + anew + ["policy"] * 3


def test_the_bar_of_measuring_gets_the_seconds_that_passed(staged, clock):
    shown = []
    budget.time_steps(staged(training=2.0), limit(clock, 100), shown.append)
    assert sum(shown) == pytest.approx(clock.now - 1000)


@pytest.mark.parametrize(("left_s", "looked_at"), [(-1.0, 0), (1.0, 1), (35.0, 3), (1000.0, 5)])
def test_inference_is_timed_on_as_many_images_as_there_is_time_for(
    clock, monkeypatch, left_s, looked_at
):
    """An image of 10,000 px takes 10 s; a batch has two."""
    seen = []

    def validate(counter, images, **options):
        for data, _ in images:
            seen.extend(data["image_ids"])
            clock.now += 1e-3 * sum(array.shape[0] * array.shape[1] for array in data["arrays"])

    monkeypatch.setattr(budget, "validate", validate)
    batch = {"arrays": [np.zeros((100, 100, 3), np.uint8)] * 2, "image_ids": ["a", "b"]}
    training = SimpleNamespace(
        counter=None,
        precision="float32",
        config=SimpleNamespace(data=SimpleNamespace(radius_px=4.0)),
    )
    rate = budget.time_inference(
        training, [(batch, [1, 2])], limit(clock, left_s), lambda done: None
    )
    assert len(seen) == looked_at
    assert rate is None if looked_at == 0 else rate == pytest.approx(1e-3)


class Reader:
    """Images of which every reader that is open is counted."""

    def __init__(self, batches):
        self.batches = batches
        self.open = 0

    def __iter__(self):
        self.open += 1
        try:
            yield from self.batches
        finally:
            self.open -= 1


def test_no_image_is_read_while_inference_is_timed(clock, monkeypatch):
    images, seen = Reader(whole("p0", "p1", "p2", "p3")), []
    monkeypatch.setattr(budget, "validate", lambda *given, **options: seen.append(images.open))
    given = SimpleNamespace(
        counter=None,
        precision="float32",
        config=SimpleNamespace(data=SimpleNamespace(radius_px=4.0)),
    )
    budget.time_inference(given, images, limit(clock, 10.0), lambda done: None)
    assert seen == [0, 0, 0]


class Wide:
    """Pictures of 9x4 px and of 5x7 px."""

    ids = ("a", "b")

    def sample(self, image_id):
        size = {"a": (9, 4), "b": (5, 7)}[image_id]
        return dataclasses.replace(Pictures().sample("p0"), image_id=image_id, size=size)

    def pixels(self, image_id):
        width, height = self.sample(image_id).size
        return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, [36, 35]), (2.0, [144, 140])])
def test_the_pixels_of_images_are_known_without_decoding_and_with(scale, expected):
    images = WholeImages(Wide(), ["a", "b"], input_scale=scale)
    assert budget.count_pixels(images) == expected
    assert budget.count_pixels(list(images)) == expected


@pytest.fixture
def prepared():
    """As far as a budget looks at a prepared run: eight test pictures."""
    return lambda given: SimpleNamespace(
        experiment=SimpleNamespace(config=given.config),
        request=SimpleNamespace(resume=True),
        device=given.device,
        processes=ALONE,
        split=SimpleNamespace(train=list(Pictures.ids[:8]), test=list(Pictures.ids[:8])),
        images=Pictures(),
    )


@pytest.mark.parametrize("validation", [True, False])
def test_what_is_measured_is_spread_over_steps_looks_and_the_test_part(
    tmp_path, clock, monkeypatch, prepared, validation
):
    stages = (Stage("trunk", share=1.0), Stage("all", share=3.0))
    given = training(tmp_path, stages=stages, validation=validation)
    monkeypatch.setattr(budget, "time_steps", lambda *given: ((8.0, 4.0), 100.0))
    monkeypatch.setattr(budget, "time_inference", lambda *given: 0.5)
    began = clock.now
    clock.now += 11.0
    found = budget._measure(prepared(given), given, began, 60.0, Display())
    assert found.step_s == 5.0  # a quarter of the steps take 8 s, the others 4 s
    assert found.stage_s == (8.0, 4.0)
    assert found.start_s == 11.0
    look_s, test_s = 0.5 * 64 * (4 if validation else 8), 0.5 * 64 * 8
    assert found.validation_s == (look_s if validation else 0.0)
    # without validation images thresholds are chosen once, on the training images
    least = test_s if validation else test_s + look_s
    assert least < found.test_s < least + 10


def test_inference_that_was_not_timed_is_taken_to_be_half_a_step(
    tmp_path, clock, monkeypatch, prepared
):
    given = training(tmp_path)
    monkeypatch.setattr(budget, "time_steps", lambda *given: ((8.0,), 100.0))
    monkeypatch.setattr(budget, "time_inference", lambda *given: None)
    found = budget._measure(prepared(given), given, clock.now, 60.0, Display())
    assert found.validation_s == pytest.approx(0.5 * 8.0 / 100 * 64 * 4)


def test_a_length_in_epochs_is_not_measured(tmp_path, monkeypatch, prepared):
    given = training(tmp_path)
    monkeypatch.setattr(budget, "_measure", lambda *given: pytest.fail("it was measured"))
    plan = budget.plan_run(prepared(given), given, 0.0, Display())
    assert plan.iterations == 2  # one epoch of 8 pictures in batches of 4


def test_a_budget_is_measured_once_and_anew_where_a_run_starts_over(
    tmp_path, monkeypatch, prepared
):
    given, said, calls = training(tmp_path, budget_s=100.0, validations=2), [], []
    timings = StepTimings(0.5, 2.0, test_s=4.0, start_s=8.0, stage_s=(0.5,))
    monkeypatch.setattr(budget, "_measure", lambda *given: calls.append(given) or timings)
    known = prepared(given)
    plan = budget.plan_run(known, given, 0.0, Display(say=said.append))
    assert plan == fit_budget(100.0, timings, given.config.schedule)
    assert said == [
        "Timing the first steps, for at most 10 s.",
        f"A step takes 0.5 s: {plan.iterations} steps fit the budget.",
    ]
    assert budget.plan_run(known, given, 0.0, Display()) == plan
    assert len(calls) == 1
    known.request.resume = False
    assert budget.plan_run(known, given, 0.0, Display()) == plan
    assert len(calls) == 2


def test_a_refused_budget_is_told_what_all_steps_would_take(tmp_path, monkeypatch, prepared):
    given = training(tmp_path, budget_s=60.0, validations=2)
    given.config = dataclasses.replace(
        given.config, data=dataclasses.replace(given.config.data, epochs=50)
    )
    timings = StepTimings(3.0, 60.0, test_s=120.0, start_s=60.0, stage_s=(3.0,))
    monkeypatch.setattr(budget, "_measure", lambda *given: timings)
    # 100 steps of 3 s, two looks of 60 s, 180 s before and after
    with pytest.raises(UserError, match=r"all 100 steps take about 10 min\.$"):
        budget.plan_run(prepared(given), given, 0.0, Display())
    assert not (tmp_path / "plan.json").exists()
