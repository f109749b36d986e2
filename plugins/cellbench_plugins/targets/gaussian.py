"""Gaussian density maps as training targets; every cell sums to exactly one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.parts import DensityTarget
from cellbench.registry import TARGETS


@TARGETS.register_module()
class GaussianDensity(DensityTarget):
    """Density map of Gaussians, one per annotated cell, each of unit sum.

    The map is computed at its own stride: each map cell holds the integral of the Gaussians over
    its square, a difference of error functions along each axis. Gaussians are cut at the border of
    the image and at the truncation, and renormalised, so each sums to one at the border too.

    The standard deviation is `sigma`, or, with `adaptive`, `adaptive` times the mean distance to
    the `neighbours` nearest cells, clipped to `least` and `most`; with fewer neighbours, the mean
    over those there are, and `sigma` for a lone cell.

    Source: Lempitsky & Zisserman, NIPS 2010, section 2; geometry-adaptive kernels: MCNN, Zhang et
        al., CVPR 2016, section 2.2, with adaptive=0.3.

    Differs: papers blur a map of single pixels and resize it to the network's stride, which keeps
        the count only roughly. In a crop the neighbours outside it are not known. Adaptive
        deviations have no limits in the papers, and in CSRNet's code a lone cell has a quarter of
        the image's mean side. Public code for crowds cuts Gaussians of a deviation of 4 px to
        15 x 15 px, which is truncate=1.875, and shifts their centre where a border cuts them.
    """

    def __init__(
        self,
        *,
        sigma: float = 2.0,
        adaptive: float | None = None,
        neighbours: int = 3,
        least: float = 1.0,
        most: float = 15.0,
        truncate: float = 4.0,
    ) -> None:
        """Set the deviations, all in px of the original image.

        Args:
            sigma: deviation of every cell; with `adaptive`, that of a lone one.
            adaptive: deviation as a share of the distance to the neighbours; None for fixed ones.
            neighbours: number of nearest cells over which the distance is averaged.
            least: smallest adaptive deviation.
            most: largest adaptive deviation.
            truncate: number of deviations at which a Gaussian is cut off along each axis.

        Raises:
            PartError: a length that is not positive, or no neighbour.
        """
        lengths = (sigma, least, truncate, 1.0 if adaptive is None else adaptive)
        if min(lengths) <= 0 or neighbours < 1 or most < least:
            raise PartError(
                "sigma, adaptive, least and truncate are more than 0, most is no less than least "
                "and neighbours at least 1."
            )
        self.sigma = sigma
        self.adaptive = adaptive
        self.neighbours = neighbours
        self.least = least
        self.most = most
        self.truncate = truncate

    def make(
        self,
        points: Sequence[Tensor],
        sizes: Tensor,
        grid: tuple[int, int],
        *,
        stride: int,
        scale: float,
    ) -> Tensor:
        """Compute the (B, 1, rows, columns) maps; each sums to the number of its points."""
        maps = sizes.new_zeros((len(points), 1, *grid), dtype=torch.float32)
        counts = [len(own) for own in points]
        if not sum(counts):
            return maps
        # All cells of the batch at once: on a GPU kernel launches dominate, not arithmetic. Lengths
        # stay on the device: reading them would wait for the network's output.
        cells = torch.cat(list(points)).to(maps.device, torch.float64)
        pairs = zip(sizes.double(), counts, strict=True)
        lengths = torch.cat([length.expand(n, 2) for length, n in pairs])
        sigma = torch.cat([self.deviations(own, scale=scale) for own in cells.split(counts)])
        along_x = self._shares(cells[:, 0], sigma, lengths[:, 0], grid[1], stride)
        along_y = self._shares(cells[:, 1], sigma, lengths[:, 1], grid[0], stride)
        for own, x, y in zip(maps, along_x.split(counts), along_y.split(counts), strict=True):
            torch.mm(y.T, x, out=own[0])
        return maps

    def deviations(self, cells: Tensor, *, scale: float) -> Tensor:
        """Compute the deviation of each of (A, 2) cells, (A,) px of the network input."""
        fixed = cells.new_full((len(cells),), self.sigma * scale)
        if self.adaptive is None or len(cells) < 2:
            return fixed
        distances = torch.cdist(cells, cells)
        nearest = distances.topk(min(self.neighbours + 1, len(cells)), largest=False).values
        # the nearest of all is the cell itself, at 0
        mean = nearest.sum(dim=1) / (nearest.shape[1] - 1)
        return (self.adaptive * mean).clamp(self.least * scale, self.most * scale)

    def _shares(
        self, centres: Tensor, sigma: Tensor, lengths: Tensor, cells: int, stride: int
    ) -> Tensor:
        """Compute the share of each of A Gaussians in each map cell along one axis.

        Args:
            centres: (A,) px of the network input, as are the next two.
            sigma: (A,) their deviations.
            lengths: (A,) lengths of their images along the axis.
            cells: number of map cells along the axis.
            stride: px of a map cell.

        Returns:
            (A, cells) float32; rows sum to 1.
        """
        lengths = lengths[:, None]
        centres = centres[:, None].clamp_min(0).minimum(lengths)
        edges = torch.arange(cells + 1, device=centres.device, dtype=centres.dtype) * stride
        away = (edges.minimum(lengths) - centres) / sigma[:, None]
        away = away.clamp(-self.truncate, self.truncate)
        shares = torch.erf(away / math.sqrt(2)).diff(dim=1)
        shares = shares / shares.sum(dim=1, keepdim=True)
        return shares.float()
