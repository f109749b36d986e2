"""Optimiser and learning rate schedule."""

import math
from typing import Any

import torch

from cellbench.config.schema import OptimizerConfig, ScheduleConfig
from cellbench.models.counter import CellCounter


def build_optimizer(
    counter: CellCounter, config: OptimizerConfig, *, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimiser of a method.

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
    fused = device.type in ("cpu", "cuda")  # one kernel for all tensors of a group
    if config.type == "SGD":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            fused=fused,
        )
    kind = torch.optim.AdamW if config.type == "AdamW" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=fused)


def rate(step: int, iterations: int, schedule: ScheduleConfig) -> float:
    """Compute the share of the peak learning rate at a step.

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
