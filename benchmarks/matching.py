"""Duration of matching in a training step of 16 crops.

Prints the milliseconds of 16 matchings, for the proposals of a lattice of 4 px and of 2 px on a 64
px crop with as many cells as ADI and VGG have there:

    python benchmarks/matching.py
"""

import time

import numpy as np
import torch

from cellbench.registry import MATCHERS

CROPS = 16
MATCHERS_SHOWN = [
    {"type": "Hungarian"},
    {"type": "KHM", "weighting": "monotone"},
    {"type": "KHM", "weighting": "reward"},
    {"type": "KHM", "weighting": "released"},
]


def milliseconds(config: dict[str, str], proposals: int, cells: int, repeats: int = 15) -> float:
    """Measure the median time of the matchings of one step."""
    matcher = MATCHERS.build(config)
    chance = torch.Generator().manual_seed(0)
    crops = [
        (
            torch.rand(proposals, 2, generator=chance) * 64,
            torch.rand(proposals, generator=chance),
            torch.rand(cells, 2, generator=chance) * 64,
        )
        for _ in range(CROPS)
    ]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for crop in crops:
            matcher.match(*crop)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def main() -> None:
    """Measure and print."""
    for proposals, cells in ((256, 15), (256, 30), (1024, 30), (1024, 60)):
        for config in MATCHERS_SHOWN:
            name = " ".join(config.values())
            spent = milliseconds(config, proposals, cells)
            print(f"{CROPS} x {proposals} proposals, {cells} cells, {name}: {spent:.1f} ms")


if __name__ == "__main__":
    main()
