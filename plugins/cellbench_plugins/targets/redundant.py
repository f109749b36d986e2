"""Redundant count map of Count-ception: the number of cells in a window around each pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.parts import DensityTarget
from cellbench.registry import TARGETS


@TARGETS.register_module()
class RedundantCount(DensityTarget):
    """Redundant count map: the number of cells in the window around each pixel.

    The grid extends `window / 2` px beyond the image, so that a dot is counted in `window` x
    `window` px even in a corner, and the map sums to exactly `window`^2 = 1024 per cell. On a
    coarser grid a map cell of stride s counts for s^2 px.

    Source: Count-ception, Cohen et al., ICCV workshops 2017, section 3.

    Differs: the map has `window` more rows than the image, one more than windows of whole px that
        a dot can lie in; the released code leaves the first row and column empty, so that a
        mirrored image has another map. Here the first and the last px of a window weigh one half:
        windows lie where those of the published network lie, and maps flip with their images.
    """

    def __init__(self, *, window: int = 32) -> None:
        """Set the window.

        Args:
            window: edge in px of the network input; even.

        Raises:
            PartError: an odd window, or one below 2.
        """
        if window < 2 or window % 2:
            raise PartError(f"window: an even number of px from 2 up is wanted, not {window}.")
        self.window = window
        self.unit = float(window * window)

    def make(
        self,
        points: Sequence[Tensor],
        sizes: Tensor,
        grid: tuple[int, int],
        *,
        stride: int,
        scale: float,
    ) -> Tensor:
        """Count the dots in the window around each map cell; `window` is in px of the input.

        Raises:
            ValueError: the stride does not divide the window, or the grid does not reach
                `window / 2` px beyond each image (checked on a CPU only).
        """
        if self.window % stride:
            raise ValueError(f"a window of {self.window} px has no whole number of {stride} px")
        reach = self.window // stride
        if not self._fits(sizes, grid, stride):
            raise ValueError(
                f"a grid of {grid} cells does not reach {self.window // 2} px beyond each image"
            )
        cells = torch.zeros(
            (len(points), grid[0] - reach, grid[1] - reach),
            dtype=torch.float64,
            device=sizes.device,
        )
        for image, (own, size) in enumerate(zip(points, sizes, strict=True)):
            last = torch.div(size - 1, stride, rounding_mode="floor")
            place = torch.div(own.to(sizes.device), stride, rounding_mode="floor").long()
            place = place.clamp_min(0).minimum(last)
            ones = cells.new_ones(len(own))
            cells[image].index_put_((place[:, 1], place[:, 0]), ones, accumulate=True)
        for axis in (1, 2):
            cells = _windows(cells, reach, axis)
        return (cells * stride**2).float()[:, None]

    def _fits(self, sizes: Tensor, grid: tuple[int, int], stride: int) -> bool:
        reach = self.window // stride
        if not len(sizes) or sizes.device.type != "cpu":
            return True  # reading sizes on a GPU would wait for the network's output
        columns, rows = (-(-int(side) // stride) for side in sizes.max(dim=0).values)
        return grid[0] >= rows + reach and grid[1] >= columns + reach


def _windows(cells: Tensor, reach: int, axis: int) -> Tensor:
    """Sum `reach` + 1 neighbours along an axis, the outer two halved; adds `reach` cells."""
    length = cells.shape[axis]
    padded = list(cells.shape)
    padded[axis] = reach + 1
    edge = cells.new_zeros(padded)
    # sums of integers up to 2^53 are exact in any order
    total = torch.cat([edge, cells, edge.narrow(axis, 0, reach)], dim=axis).cumsum(axis)
    whole = total.narrow(axis, reach, length + reach + 1) - total.narrow(
        axis, 0, length + reach + 1
    )
    return (whole.narrow(axis, 0, length + reach) + whole.narrow(axis, 1, length + reach)) / 2
