"""CPU time of flow following and polygon suppression on 5,000 cells in 2000 x 2000 px.

Prints the CPU seconds of each step from maps to cells, of Cellpose and StarDist:

    python benchmarks/segmentation.py
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cellbench_plugins._ops.flows import flow_errors, flow_targets, follow_flows, masks_from_ends
from cellbench_plugins._ops.polygon_nms import polygon_nms
from cellbench_plugins._ops.pseudo_masks import Discs, disc_labels

CELLS = 5000
SIDE = 2000
RADIUS_PX = 10.0


def timed(name: str, make: Callable[[], Any]) -> Any:
    """Call `make`, print the CPU seconds, and return the result."""
    began = time.process_time()
    result = make()
    print(f"{name}: {time.process_time() - began:.2f} s")
    return result


def field(generator: torch.Generator) -> Tensor:
    """Draw (CELLS, 2) points, 28 px apart on average."""
    steps = 28.0 * torch.arange(71) + 14
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)[:CELLS]
    return points + 3 * torch.randn(points.shape, generator=generator)


def main() -> None:
    """Measure and print."""
    generator = torch.Generator().manual_seed(0)
    points = field(generator)
    radii = torch.full((CELLS,), RADIUS_PX)
    labels = timed("discs", lambda: disc_labels(points, radii, size=(SIDE, SIDE)))
    sources = points.floor().long().flip(1)
    flow = timed("flow targets, 42 steps", lambda: flow_targets(labels, sources, steps=42))
    flow = 0.9 * flow + 0.1 * torch.randn(flow.shape, generator=generator) * (labels > 0)
    starts = (labels > 0).nonzero()
    ends = timed(f"following {len(starts)} pixels", lambda: follow_flows(flow, starts))
    mask = timed("masks", lambda: masks_from_ends(ends, starts, (SIDE, SIDE)))
    print(f"  {int(mask.max())} masks")
    timed("flow errors, 42 steps", lambda: flow_errors(labels, flow, sources, steps=42))
    discs = Discs.of(points, radii)
    for views in (1, 20, 78):
        owners = torch.arange(CELLS).repeat_interleave(views)
        centres = points[owners] + 3 * torch.randn(len(owners), 2, generator=generator)
        lengths = discs.ray_lengths(centres, owners, 32)
        lengths = lengths * (1 + 0.05 * torch.randn(lengths.shape, generator=generator))
        scores = torch.rand(len(owners), generator=generator)
        kept = timed(
            f"suppression among {len(owners)} polygons",
            lambda c=centres, d=lengths, s=scores: polygon_nms(c, d, s),
        )
        print(f"  {len(kept)} polygons")


if __name__ == "__main__":
    main()
