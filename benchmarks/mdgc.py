"""Speed and memory of MDGC relative to the same layer written with `unfold`.

Prints the ratio of times and of memory of forward and backward at 256 channels, 64x64, batch 8. The
variants run alternately, each in a process of its own. Time is that of the fastest step; memory is
the growth of the process's peak (ru_maxrss) since before the first step.

    python benchmarks/mdgc.py [--channels 256 --size 64 --batch 8 --threads 2 --rounds 2]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

VARIANTS = ("mdgc", "unfold")


def main() -> None:
    """Compare the variants, or measure one of them in a child process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="processes per variant")
    parser.add_argument("--reduction", type=int, default=4, help="of MDGC; 1: on all channels")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[variant].append(json.loads(done.stdout))
    best = {v: {k: min(run[k] for run in runs[v]) for k in ("seconds", "mib")} for v in VARIANTS}
    print(f"{options.channels} channels, {options.size}x{options.size}, batch {options.batch}:")
    for variant in VARIANTS:
        print(f"  {variant:7} {best[variant]['seconds']:7.3f} s  {best[variant]['mib']:7.0f} MiB")
    for key, word in (("seconds", "faster"), ("mib", "less memory")):
        print(f"  {best['unfold'][key] / best['mdgc'][key]:.2f} times {word}")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Measure the seconds of the fastest step, and the MiB that the steps added."""
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layer = unfolded_layer() if options.variant == "unfold" else layer_class()
    module = layer(options.channels, options.channels, reduction=options.reduction)
    module = module.to(memory_format=torch.channels_last)
    x = torch.randn(options.batch, options.channels, options.size, options.size)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def step(images: Any) -> float:
        start = time.perf_counter()
        module(images).square().mean().backward()
        return time.perf_counter() - start

    step(x[:1, :, :4, :4])  # libraries allocate what they need at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = min(step(x) for _ in range(3))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {"seconds": seconds, "mib": (after - before) / unit}


def layer_class() -> Any:
    """Return the class of MDGC."""
    from cellbench.registry import CONVS

    return CONVS.get("MDGC")


def unfolded_layer() -> Any:
    """Return the same layer with its taps gathered by `unfold`, scale by scale."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    class Unfolded(layer_class()):  # type: ignore[misc]
        def gaussian_path(self, reduced: Tensor) -> Tensor:
            parameters = self.kernel_parameters(reduced)
            out = []
            for index, size in enumerate(self.scales):
                sx, sy, dx, dy = (p[:, index, None] for p in parameters)
                taps = torch.arange(size) - size // 2
                v, u = torch.meshgrid(taps, taps, indexing="ij")
                u, v = u.reshape(1, -1, 1, 1), v.reshape(1, -1, 1, 1)
                kernel = torch.exp(-0.5 * ((u - dx) / sx) ** 2 - 0.5 * ((v - dy) / sy) ** 2)
                inside = F.unfold(torch.ones_like(reduced[:1, :1]), size, padding=size // 2)
                kernel = kernel * inside.view(1, size * size, *reduced.shape[2:])
                kernel = kernel / kernel.sum(1, keepdim=True)  # (B, k * k, H, W)
                patches = F.unfold(reduced, size, padding=size // 2)
                patches = patches.view(*reduced.shape[:2], size * size, *reduced.shape[2:])
                out.append(torch.einsum("bckhw,bkhw->bchw", patches, kernel))
            return torch.cat(out, dim=1)

    return Unfolded


if __name__ == "__main__":
    main()
