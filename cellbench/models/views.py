"""Eight views of an image, by a flip and quarter turns, for averaging over views."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class View:
    """View of an image: a flip along x or none, then counter-clockwise quarter turns.

    Attributes:
        flipped: whether left and right are swapped first.
        turns: 0 to 3.
    """

    flipped: bool
    turns: int

    def see(self, pixels: Tensor) -> Tensor:
        """Apply the view to images (B, C, H, W); height and width may be swapped."""
        flipped = pixels.flip(3) if self.flipped else pixels
        return torch.rot90(flipped, self.turns, (2, 3))

    def undo(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Map points (..., 2) of the view, (x, y) px, back to the unchanged image.

        Args:
            points: in px of the result of `see`.
            size: (width, height) of the unchanged image, px.
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
