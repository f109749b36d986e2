"""The eight ways to see a picture: turned by quarters, and flipped before."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class View:
    """A flip along x or none, then quarter turns, counter-clockwise.

    Attributes:
        flipped: whether left and right change places first.
        turns: 0 to 3.
    """

    flipped: bool
    turns: int

    def see(self, pixels: Tensor) -> Tensor:
        """Pictures (B, C, H, W) as they are seen so; their edges may change places."""
        flipped = pixels.flip(3) if self.flipped else pixels
        return torch.rot90(flipped, self.turns, (2, 3))

    def undo(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Points (..., 2) of a view, (x, y) px, as points of the picture.

        Args:
            points: in px of what `see` gives.
            size: (width, height) of the picture itself, px.
        """
        width, height = size
        x, y = points.unbind(-1)
        if self.turns == 1:
            x, y = width - y, x
        elif self.turns == 2:
            x, y = width - x, height - y
        elif self.turns == 3:
            x, y = y, height - x
        return torch.stack([width - x if self.flipped else x, y], dim=-1)


VIEWS = tuple(View(flipped, turns) for flipped in (False, True) for turns in range(4))
