"""The two halves of a step, which a GPU captures, against the step in one piece."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cellbench.config.compose import resolve
from cellbench.engine.average import WeightAverage
from cellbench.engine.capture import EagerHalves
from cellbench.engine.devices import ALONE
from cellbench.engine.loss_watch import LossWatch
from cellbench.engine.training import TrainingStep
from cellbench.engine.training_state import TrainingState
from cellbench.errors import RunError
from cellbench.models.build import build_counter
from cellbench.registry import COUNTERS

CPU = torch.device("cpu")


def batch(number=2, side=64, cells=28, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "arrays": [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(number)],
        "points": [side * rng.random((cells, 2), dtype=np.float32) for _ in range(number)],
        "scale": 1.0,
        "image_ids": [str(index) for index in range(number)],
    }


def stepper(method, **options):
    torch.manual_seed(0)
    config = resolve(f"methods/{method}", dataset="adi")
    counter = build_counter(config.model, load_weights=False).train()
    update = TrainingStep(
        counter, config.optimizer, device=CPU, precision="float32", processes=ALONE, **options
    )
    update.set_rate(0.1)
    return counter, update


@pytest.mark.parametrize(
    "method",
    [
        "dla",
        "dla_paper",
        "p2pnet",
        "unet",
        "saunet",
        pytest.param("countception", marks=pytest.mark.slow),
    ],
)
def test_a_step_in_two_halves_moves_the_weights_as_one_in_one_piece_does(method):
    whole, update = stepper(method)
    halved, update_halved = stepper(method)
    update_halved.captured = EagerHalves(halved, precision="float32")
    for seed in range(2):
        data = batch(seed=seed)
        loss, other = update(data, seed=seed), update_halved(data, seed=seed)
        torch.testing.assert_close(other, loss, rtol=1e-5, atol=1e-6)
    states = halved.state_dict(), whole.state_dict()
    moved = build_counter(resolve(f"methods/{method}", dataset="adi").model, load_weights=False)
    assert states[0].keys() == states[1].keys() == moved.state_dict().keys()
    # Adam divides by the size of a gradient: where that is rounding, a step may go either way.
    torch.testing.assert_close(*states, rtol=1e-3, atol=3e-5)


class Operators(TorchDispatchMode):
    """Counts operators, but for those of the network."""

    def __init__(self):
        super().__init__()
        self.names = []
        self.off = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not self.off:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["dla", "p2pnet"])
def test_a_step_dispatches_at_most_150_operators_outside_the_network(method):
    counter, update = stepper(method)
    average, losses = WeightAverage(counter, 0.99), LossWatch(TrainingState())
    halves = EagerHalves(counter, precision="float32")
    counting = Operators()

    def silently(half):
        def call(*arguments):
            counting.off = True
            try:
                return half(*arguments)
            finally:
                counting.off = False

        return call

    halves.forward, halves.backward = silently(halves.forward), silently(halves.backward)
    update.captured = halves
    data = batch(number=16)
    update(data, seed=0)  # the optimiser's state is made at the first step
    with counting:
        loss = update(data, seed=1)
        average.update()
        losses.add(1, loss)
    assert 20 < len(counting.names) <= 150, counting.names


def test_a_counter_that_captures_has_no_loss_of_its_own():
    # a loss beside `network` and `terms` would be left out where these are captured
    from cellbench.models.counter import CellCounter

    found = [kind for name in COUNTERS.names() if (kind := COUNTERS.get(name)).captures]
    assert len(found) > 10
    assert all(kind.loss is CellCounter.loss for kind in found)


def test_a_loss_that_is_no_number_is_refused_and_not_added_up():
    sums = TrainingState()
    losses = LossWatch(sums)
    losses.add(1, torch.tensor(2.0))
    with pytest.raises(RunError, match="The loss was inf at step 2"):
        losses.add(2, torch.tensor(torch.inf))
    assert (sums.loss_sum, sums.loss_steps, losses.last) == (2.0, 1, torch.inf)


def test_a_loss_is_read_once_the_stream_of_its_own_gpu_has_brought_it(monkeypatch):
    streams = []

    class Event:
        def record(self, stream=None):
            streams.append(stream)

        def query(self):
            return True

        def synchronize(self):
            pass

    class OnHost(torch.Tensor):
        def copy_(self, other, non_blocking):
            return super().copy_(torch.tensor(2.0))

    loss = SimpleNamespace(device=torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"of {device}")
    monkeypatch.setattr(
        torch, "empty_like", lambda *given, **options: torch.zeros(()).as_subclass(OnHost)
    )
    sums = TrainingState()
    LossWatch(sums).add(1, loss)
    assert streams == ["of cuda:1"]
    assert sums.loss_sum == 2.0
