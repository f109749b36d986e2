"""Speed of large kernels by Fourier transforms relative to torch's convolution.

    python benchmarks/fourier.py
    python benchmarks/fourier.py --edge 48 --rounds 3 --threads 1

Count-ception's two large layers, forward and both gradients, alternately in one process. Ratios are
of median CPU times with one thread, else of wall times. torch's gradients of the 18x18 kernel take
minutes on maps of training size.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cellbench.engine.devices import keep_freed_memory
from cellbench_plugins._ops.fourier import fourier_conv2d

LAYERS = (("14x14, 48 to 16", 48, 16, 14), ("18x18, 128 to 32", 128, 32, 18))


def main() -> None:
    """Measure and print a line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--edge", type=int, default=64, help="of the map that goes in, px")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="torch's choice by default")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    keep_freed_memory(torch.device("cpu"))
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    torch.manual_seed(0)
    for name, inputs, outputs, kernel in LAYERS:
        x = torch.randn(1, inputs, given.edge, given.edge).to(memory_format=torch.channels_last)
        weight = 0.02 * torch.randn(outputs, inputs, kernel, kernel)
        tensors = (x.requires_grad_(), weight.requires_grad_())
        seconds: dict[str, list[tuple[float, float]]] = {"direct": [], "fourier": []}
        for _ in range(given.rounds + 1):
            for side, convolve in (("direct", F.conv2d), ("fourier", fourier_conv2d)):
                seconds[side].append(turn(convolve, tensors, clock))
        for step, what in enumerate(("forward", "gradients")):
            direct, fourier = (
                statistics.median(pair[step] for pair in seconds[side][1:])  # the first warms up
                for side in ("direct", "fourier")
            )
            print(
                f"{name:18} {what:10} direct {direct:.3f} s, fourier {fourier:.3f} s: "
                f"{direct / fourier:.1f} times as fast",
                flush=True,
            )


def turn(
    convolve: Callable[..., Tensor], tensors: tuple[Tensor, Tensor], clock: Callable[[], float]
) -> tuple[float, float]:
    """Measure the seconds of the forward pass and of the gradients."""
    began = clock()
    out = convolve(*tensors)
    middle = clock()
    out.sum().backward()
    return middle - began, clock() - middle


if __name__ == "__main__":
    main()
