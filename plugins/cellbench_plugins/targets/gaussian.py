"""Density maps of Gaussians, one a cell, that keep every cell whole."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.parts import DensityTarget
from cellbench.registry import TARGETS


@TARGETS.register_module()
class GaussianDensity(DensityTarget):
    """A Gaussian at each cell, integrated over the cells of the map.

    Made at the map's own stride, whatever it is: a cell of the map holds the integral of the
    Gaussian over its square, a difference of error functions along each axis. What would lie
    beyond the border of the image or the truncation is given to the rest, so each Gaussian sums
    to one at the border too.

    The deviation is `sigma`, or, with `adaptive`, `adaptive` times the mean distance of the
    `neighbours` nearest cells, held between `least` and `most`; of fewer neighbours what there
    are, and `sigma` for a lone cell.

    Source: Lempitsky & Zisserman, NIPS 2010, section 2; geometry-adaptive kernels: MCNN, Zhang et
        al., CVPR 2016, section 2.2, with adaptive=0.3.

    Differs: papers blur a map of single pixels and resize it to the network's stride, which keeps
        the count only roughly. In a crop the neighbours outside it are not known. Adaptive
        deviations have no limits in the papers, and in CSRNet's code a lone cell has a quarter of
        the image's mean side. Public code for crowds cuts Gaussians of a deviation of 4 px to
        15 x 15 px, which is truncate=1.875, and moves their middle where a border cuts them.
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
            sigma: of every cell; with `adaptive` of a lone one.
            adaptive: deviation as a share of the distance to the neighbours; None for fixed ones.
            neighbours: how many of the nearest cells the distance is averaged over.
            least: smallest adaptive deviation.
            most: largest adaptive deviation.
            truncate: deviations beyond which a Gaussian is cut off along each axis.

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
        """Make the (B, 1, rows, columns) maps; each sums to the number of its points."""
        maps = sizes.new_zeros((len(points), 1, *grid), dtype=torch.float32)
        counts = [len(own) for own in points]
        if not sum(counts):
            return maps
        # All cells of the batch at once: on a GPU launches take the time, not arithmetic. Lengths
        # stay on the device: to read them there would wait for the network's answer.
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
        """The deviation of each of (A, 2) cells, (A,) px of the network input."""
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
        """What each of A Gaussians gives to each cell of an axis, (A, cells), rows sum to 1.

        Args:
            centres: (A,) px of the network input, as are the next two.
            sigma: (A,) their deviations.
            lengths: (A,) of the images that they are in.
            cells: number of them.
            stride: px of a cell.
        """
        lengths = lengths[:, None]
        centres = centres[:, None].clamp_min(0).minimum(lengths)
        edges = torch.arange(cells + 1, device=centres.device, dtype=centres.dtype) * stride
        away = (edges.minimum(lengths) - centres) / sigma[:, None]
        away = away.clamp(-self.truncate, self.truncate)
        shares = torch.erf(away / math.sqrt(2)).diff(dim=1)
        shares = shares / shares.sum(dim=1, keepdim=True)
        return shares.float()
