"""Checks of dtypes and devices in a counter's step and inference, on fake CUDA tensors."""

from collections.abc import Callable
from typing import Any

import torch

from cellbench.models.counter import total_loss
from cellbench.testing.contract_claim import require
from cellbench.testing.fake_cuda import (
    DEVICE,
    HostTensors,
    backward,
    build_fake,
    cuda_autocast,
    fake_batch,
    fake_cuda,
    fake_images,
)
from cellbench.testing.samples import CounterCase


def _watched(function: Callable[[Any], Any], argument: Any) -> tuple[Any, list[str]]:
    """Call a function; returns its result, and the operators in it with results on the CPU."""
    with HostTensors() as host:
        result = function(argument)
    return result, host.seen


def check_cuda_step(case: CounterCase) -> None:
    """Run a step of each stage on fake CUDA; require a float32 loss and gradients where trained.

    The network of a counter that captures must use nothing on the host, since a CUDA graph cannot.
    """
    reached, host = set(), []
    with fake_cuda():
        counter = build_fake(case.model).train()
        for stage in counter.stages:
            counter.begin_step(stage.name, 0.5)
            counter.zero_grad()
            batch = fake_batch()
            with cuda_autocast():
                if counter.captures:
                    outputs, on_host = _watched(counter.network, batch.images.pixels)
                    if on_host:  # what the first pass caches is not made again
                        outputs, on_host = _watched(counter.network, batch.images.pixels)
                    host += on_host
                    loss = total_loss(counter.terms(outputs, batch))
                else:
                    loss = total_loss(counter.loss(batch))
            kind = (loss.dtype, loss.device)
            require(kind == (torch.float32, DEVICE), f"the loss is {kind[0]} on {kind[1]}")
            _, on_host = _watched(backward, loss)
            host += on_host if counter.captures else []
            reached |= {name for name, p in counter.named_parameters() if p.grad is not None}
    untrained = tuple(counter.untrained)
    learning = {name for name, p in counter.named_parameters() if p.requires_grad}
    lost = {name for name in learning - reached if not name.startswith(untrained)}
    require(not lost, f"on CUDA no gradient reaches {sorted(lost)}")
    require(not host, f"a captured network makes or copies these on the host: {host}")


def check_cuda_inference(case: CounterCase) -> None:
    """Count two images on fake CUDA, with made-up numbers after the copy to the host.

    This is done without gradients, not in inference mode: there fake tensors take another path
    through composed operators, and GFD's mixed dtypes were not detected.
    """
    with fake_cuda(), cuda_autocast(), torch.no_grad():
        counter = build_fake(case.model).eval()
        found = counter.infer(fake_images(sizes_are_known=True))
    require(len(found) == 2, f"{len(found)} predictions for 2 images")
