"""The optimiser, its precision and its learning rate."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper

from cellbench.config import OptimizerConfig, ScheduleConfig
from cellbench.engine.devices import autocast
from cellbench.models.counter import CellCounter


class PrecisionOptimWrapper(OptimWrapper):
    """Runs the forward pass in a chosen precision, on CPU and GPU alike.

    Differs: mmengine's AmpOptimWrapper refuses a CPU and scales the loss, which bfloat16, with
    the exponent range of float32, does not need.
    """

    def __init__(self, *, device: torch.device, precision: str, **options: Any) -> None:
        super().__init__(**options)
        self.device = device
        self.precision = precision

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        with super().optim_context(model), autocast(self.device, self.precision):
            yield


def build_optimizer(
    counter: CellCounter, config: OptimizerConfig, *, device: torch.device, precision: str
) -> PrecisionOptimWrapper:
    """Make the optimiser of a method.

    Each parameter group keeps its peak rate in `peak_lr`; biases, normalisation and other
    one-dimensional parameters are not decayed.
    """
    groups: list[dict[str, Any]] = []
    trunk_lr = config.lr if config.trunk_lr is None else config.trunk_lr
    for group in counter.parameter_groups(lr=config.lr, trunk_lr=trunk_lr):
        parameters = list(group["params"])
        lr = group.get("lr", config.lr)
        for decay, chosen in (
            (config.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                decay = group.get("weight_decay", decay)
                groups.append({"params": chosen, "lr": lr, "peak_lr": lr, "weight_decay": decay})
    # foreach: one kernel over all tensors instead of one per tensor.
    if config.type == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0
        )
    else:
        kind = torch.optim.AdamW if config.type == "AdamW" else torch.optim.Adam
        optimizer = kind(groups, lr=config.lr)
    clip = {"max_norm": config.clip_norm} if config.clip_norm else None
    return PrecisionOptimWrapper(
        optimizer=optimizer, clip_grad=clip, device=device, precision=precision
    )


def rate(step: int, iterations: int, schedule: ScheduleConfig) -> float:
    """The share of the peak learning rate at a step.

    A pure function of the step, so that a resumed run needs no scheduler state.

    Args:
        step: from 0.
        iterations: of the whole run.
        schedule: policy, warm-up and floor.

    Returns:
        In (0, 1]: linear warm-up, then half a cosine down to `final_lr`, or constant.
    """
    warmup = round(schedule.warmup * iterations)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule.policy == "constant":
        return 1.0
    done = (step - warmup) / max(1, iterations - warmup)
    return schedule.final_lr + (1 - schedule.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
