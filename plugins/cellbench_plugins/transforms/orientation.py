"""Flips and quarter turns: a cell has no preferred orientation."""

from dataclasses import replace

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.resampling import clipped_below
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(Transform):
    """Mirrors left-right and top-bottom, each with its own probability.

    A flip is x -> W - x, exactly. Only x = 0, whose mirror image W is outside of a half-open
    frame, becomes the largest float below W: no flip loses a cell.
    """

    def __init__(self, *, horizontal: float = 0.5, vertical: float = 0.5) -> None:
        """Set the probabilities.

        Args:
            horizontal: of exchanging left and right, in [0, 1].
            vertical: of exchanging top and bottom, in [0, 1].

        Raises:
            PartError: a number outside [0, 1].
        """
        for name, value in (("horizontal", horizontal), ("vertical", vertical)):
            if not 0 <= value <= 1:
                raise PartError(f"RandomFlip: {name} is {value}; a probability is in [0, 1].")
        self.horizontal = horizontal
        self.vertical = vertical

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Mirror; points move exactly."""
        chance = rng.random(2)
        pixels, points = picture.pixels, picture.points.copy()
        if chance[0] < self.horizontal:
            pixels = pixels[:, ::-1]
            points[:, 0] = picture.size[0] - points[:, 0]
        if chance[1] < self.vertical:
            pixels = pixels[::-1]
            points[:, 1] = picture.size[1] - points[:, 1]
        return replace(picture, pixels=pixels, points=clipped_below(points, picture.size))


@TRANSFORMS.register_module()
class QuarterTurn(Transform):
    """Rotates by 0, 90, 180 or 270 degrees, each as likely.

    Together with a RandomFlip all eight orientations of a picture, transposition among them,
    come equally often.
    """

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Turn counter-clockwise; points move exactly; width and height may change places."""
        turns = int(rng.integers(4))
        points = picture.points
        width, height = picture.size
        for _ in range(turns):
            points = np.stack([points[:, 1], width - points[:, 0]], axis=1)
            width, height = height, width
        pixels = np.rot90(picture.pixels, turns)
        return replace(picture, pixels=pixels, points=clipped_below(points, (width, height)))
