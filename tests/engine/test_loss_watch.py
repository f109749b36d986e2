"""Claims about losses that are read when they have arrived; a GPU's events are played."""

import math
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from cellbench.engine.loss_watch import LossWatch
from cellbench.engine.training_state import TrainingState
from cellbench.errors import RunError


class Event:
    """Arrives when a test says so, or when it is waited for."""

    made: ClassVar[list["Event"]] = []

    def __init__(self):
        self.arrived, self.waited = False, False
        self.made.append(self)

    def record(self, stream):
        assert stream == "stream"

    def query(self):
        return self.arrived

    def synchronize(self):
        self.waited = self.arrived = True


class OnGpu:
    """A number on a GPU, as far as a watch looks at it."""

    device = torch.device("cuda", 0)

    def __init__(self, value):
        self.value = value


@pytest.fixture
def events(monkeypatch):
    monkeypatch.setattr(Event, "made", [])
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")

    def on_host(like, **options):
        copied = SimpleNamespace(item=lambda: copied.value)
        copied.copy_ = lambda given, non_blocking: setattr(copied, "value", given.value)
        return copied

    monkeypatch.setattr(torch, "empty_like", on_host)
    return Event.made


def test_a_fresh_state_has_no_losses():
    state = TrainingState()
    assert (state.step, state.loss_sum, state.loss_steps) == (0, 0.0, 0)
    assert (state.best_step, state.best_mae, state.seconds) == (0, None, 0.0)
    assert math.isnan(LossWatch(state).last)


def test_on_a_cpu_each_loss_is_read_at_once():
    state = TrainingState()
    watch = LossWatch(state)
    for step, loss in enumerate((2.0, 0.5), 1):
        watch.add(step, torch.tensor(loss))
        assert watch.last == loss
    assert (state.loss_sum, state.loss_steps) == (2.5, 2)
    watch.settle()
    assert (state.loss_sum, state.loss_steps) == (2.5, 2)


def test_on_a_gpu_nothing_waits_but_for_the_first_loss(events):
    state = TrainingState()
    watch = LossWatch(state)
    for step in range(1, 5):
        watch.add(step, OnGpu(10.0 * step))
    assert [event.waited for event in events] == [True, False, False, False]
    assert (watch.last, state.loss_sum, state.loss_steps) == (10.0, 10.0, 1)
    # the second and the fourth are there; those behind one that is not are read after it
    events[1].arrived = events[3].arrived = True
    watch.add(5, OnGpu(50.0))
    assert (watch.last, state.loss_sum, state.loss_steps) == (20.0, 30.0, 2)
    watch.settle()
    assert (watch.last, state.loss_sum, state.loss_steps) == (50.0, 150.0, 5)
    assert events[2].waited
    assert events[4].waited


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_told_with_its_step_also_when_it_arrives_late(events, value):
    state = TrainingState()
    watch = LossWatch(state)
    watch.add(1, OnGpu(1.0))
    watch.add(2, OnGpu(value))
    watch.add(3, OnGpu(2.0))
    with pytest.raises(RunError, match=f"The loss was {value} at step 2; .* lower optimizer.lr"):
        watch.settle()
    assert (state.loss_sum, state.loss_steps) == (1.0, 1)
    with pytest.raises(RunError, match="at step 7"):
        LossWatch(state).add(7, torch.tensor(value))
