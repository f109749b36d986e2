"""Contract tests of density targets."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cellbench.models.parts import DensityTarget
from cellbench.registry import TARGETS
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.part_subject import PartSubject


def a_target_flips_and_turns_with_its_points(subject: PartSubject, *, margin_px: int = 0) -> None:
    """Points lie in pixel centres, as annotations do, so that mirroring them is exact."""
    points = _dots(0)
    flipped = torch.stack([64 - points[:, 0], points[:, 1]], dim=1)
    for stride in (1, 2, 4, 8):
        turned = [points, flipped, points.flip(1)]
        (plain, mirrored, transposed), _ = _maps(subject, turned, stride, margin_px)
        torch.testing.assert_close(mirrored, plain.flip(1), rtol=0, atol=1e-6)
        torch.testing.assert_close(transposed, plain.mT, rtol=0, atol=1e-6)


def a_target_sums_to_its_points_everywhere(subject: PartSubject, *, margin_px: int = 0) -> None:
    """Points lie at borders, in corners and several in one pixel; one map has one, another none."""
    corners = torch.tensor([[0.0, 0.0], [63.99, 63.99], [0.5, 63.5], [30.0, 0.1], [63.9, 31.0]])
    shared = torch.tensor([[20.5, 20.5], [20.5, 20.5], [20.5, 20.5]])
    alone, nothing = torch.tensor([[40.2, 9.7]]), torch.zeros(0, 2)
    points = [corners, shared, alone, nothing, _dots(1, number=200)]
    wanted = torch.tensor([len(dots) for dots in points], dtype=torch.float64)
    for stride in (1, 2, 4, 8):
        maps, unit = _maps(subject, points, stride, margin_px, scale=0.75)
        sums = maps.sum(dim=(1, 2), dtype=torch.float64) / unit
        torch.testing.assert_close(sums, wanted, rtol=0, atol=1e-4)


def _dots(seed: int, number: int = 40) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 64, (number, 2)).astype(np.float32) + 0.5)


def _maps(
    subject: PartSubject,
    points: Sequence[Tensor],
    stride: int,
    margin_px: int,
    *,
    size: int = 64,
    scale: float = 1.0,
) -> tuple[Tensor, float]:
    """Build the (B, rows, columns) maps of a target for square images, and the sum per cell."""
    target: DensityTarget = TARGETS.build(subject.config)
    cells = (size + 2 * margin_px) // stride
    sizes = torch.tensor([[size, size]]).expand(len(points), 2)
    maps = target.make(points, sizes, (cells, cells), stride=stride, scale=scale)
    kind = (maps.dtype, tuple(maps.shape))
    wanted = (torch.float32, (len(points), 1, cells, cells))
    require(kind == wanted, f"its maps are {kind}, not {wanted}")
    return maps.squeeze(1), target.unit


TARGET_CLAIMS: tuple[Claim, ...] = (
    a_target_flips_and_turns_with_its_points,
    a_target_sums_to_its_points_everywhere,
)
