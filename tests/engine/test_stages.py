import itertools

import pytest
import torch

from cellbench.config.schema import ScheduleConfig
from cellbench.engine.average import WeightAverage
from cellbench.engine.optim import rate
from cellbench.engine.stages import enter_stage, learning_parameters, span_at, spans
from cellbench.models.counter import CellCounter, Stage

TWO = (Stage("trunk", share=1.0, trained=("first",)), Stage("policy", share=3.0))


class TwoNetworks(CellCounter):
    """Two convolutions, of which the first stage trains one."""

    stages = TWO

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 1, 1)
        self.second = torch.nn.Conv2d(1, 1, 1)
        self.second.bias.requires_grad_(False)

    def loss(self, batch):
        raise NotImplementedError

    def infer(self, images):
        raise NotImplementedError


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 7, 100, 1001])
def test_stages_cut_a_run_without_gap_or_overlap(iterations, place):
    short = Stage("short", share=0.001)
    cut = spans((*TWO[:place], short, *TWO[place:]), iterations)
    assert cut[0].first == 0
    assert cut[-1].stop == iterations
    assert all(before.stop == after.first for before, after in itertools.pairwise(cut))
    assert all(len(span) > 0 for span in cut[-min(iterations, 3) :])
    assert [span_at(cut, step).stage.name for step in range(iterations)] == [
        span.stage.name for span in cut for _ in range(len(span))
    ]


def test_stages_get_their_shares_of_the_steps():
    assert [len(span) for span in spans(TWO, 100)] == [25, 75]


def test_one_stage_is_the_whole_run_and_its_rate_that_of_the_run():
    (span,) = spans((Stage("training"),), 50)
    schedule = ScheduleConfig()
    assert (span.first, span.stop) == (0, 50)
    assert [rate(step - span.first, len(span), schedule) for step in range(50)] == [
        rate(step, 50, schedule) for step in range(50)
    ]


@pytest.mark.parametrize(
    "stages", [(), (Stage("a", share=0.0),), (Stage("a"), Stage("a"))], ids=["none", "zero", "same"]
)
def test_stages_that_make_no_sense_are_refused(stages):
    with pytest.raises(ValueError, match=r"stage"):
        spans(stages, 10)


def test_only_a_stages_own_parameters_learn_and_never_one_that_is_frozen():
    counter = TwoNetworks()
    learning = learning_parameters(counter)
    found = []
    for stage in (*TWO, TWO[0]):
        enter_stage(stage, learning)
        found.append({n for n, p in counter.named_parameters() if p.requires_grad})
    trunk = {"first.weight", "first.bias"}
    assert found == [trunk, trunk | {"second.weight"}, trunk]


def test_a_stage_that_trains_what_is_not_there_is_refused():
    counter = TwoNetworks()
    counter.stages = (Stage("trunk", trained=("frist",)),)
    with pytest.raises(ValueError, match="frist"):
        learning_parameters(counter)


def test_an_average_that_hands_over_begins_anew():
    net = torch.nn.Conv2d(1, 1, 1)
    average = WeightAverage(net, decay=0.9)
    before = net.weight.detach().clone()
    with torch.no_grad():
        net.weight.add_(1)
    average.hand_over()
    assert average.updates == 0
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize("step", [-1, 100])
def test_a_step_beyond_the_run_lies_in_no_stage(step):
    with pytest.raises(ValueError, match="beyond the 100"):
        span_at(spans(TWO, 100), step)
