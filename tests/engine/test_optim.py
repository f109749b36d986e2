import math

import pytest
import torch

from cellbench.config.schema import OptimizerConfig, ScheduleConfig
from cellbench.engine.optim import build_optimizer, rate


class Groups(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)

    def parameter_groups(self, *, lr, trunk_lr):
        return [
            {"params": list(self.trunk.parameters()), "lr": trunk_lr},
            {"params": list(self.norm.parameters()), "lr": lr},
        ]


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "SGD"])
def test_biases_and_norms_are_not_decayed_and_the_trunk_is_slower(kind):
    network = Groups()
    config = OptimizerConfig(type=kind, lr=1e-2, trunk_lr=1e-3, weight_decay=0.1)
    optimizer = build_optimizer(network, config, device=torch.device("cpu"))
    by_parameter = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert by_parameter[id(network.trunk.weight)]["weight_decay"] == 0.1
    assert by_parameter[id(network.trunk.bias)]["weight_decay"] == 0
    assert by_parameter[id(network.norm.weight)]["weight_decay"] == 0
    assert by_parameter[id(network.trunk.weight)]["peak_lr"] == 1e-3
    assert by_parameter[id(network.norm.bias)]["peak_lr"] == 1e-2
    assert len(by_parameter) == 4


def test_the_rate_rises_linearly_then_falls_as_half_a_cosine():
    schedule = ScheduleConfig(warmup=0.1, final_lr=0.01)
    rates = [rate(step, 1000, schedule) for step in range(1000)]
    assert rates[49] == pytest.approx(50 / 101)
    assert max(rates) == rates[100] == 1
    middle = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 2))
    assert rates[550] == pytest.approx(middle)
    assert rates == [*sorted(rates[:101]), *sorted(rates[101:], reverse=True)]
    assert 0.01 <= rates[-1] < 0.011


def test_a_constant_rate_stays():
    schedule = ScheduleConfig(policy="constant", warmup=0)
    assert {rate(step, 50, schedule) for step in range(50)} == {1.0}


def test_a_single_step_has_a_rate():
    assert 0 < rate(0, 1, ScheduleConfig()) <= 1
