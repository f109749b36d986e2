"""Flips and quarter turns."""

from dataclasses import replace

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.resampling import clipped_below
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(Transform):
    """Random horizontal and vertical flips, each with its own probability.

    A flip maps x to exactly W - x. Only x = 0, whose mirror image W lies outside the half-open
    frame, becomes the largest float below W, so that no flip loses a cell.
    """

    def __init__(self, *, horizontal: float = 0.5, vertical: float = 0.5) -> None:
        """Set the probabilities.

        Args:
            horizontal: probability of exchanging left and right, in [0, 1].
            vertical: probability of exchanging top and bottom, in [0, 1].

        Raises:
            PartError: a number outside [0, 1].
        """
        for name, value in (("horizontal", horizontal), ("vertical", vertical)):
            if not 0 <= value <= 1:
                raise PartError(f"RandomFlip: {name} is {value}; a probability is in [0, 1].")
        self.horizontal = horizontal
        self.vertical = vertical

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Flip pixels and points."""
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
    """Random rotation by 0, 90, 180 or 270 degrees, each equally likely.

    Together with a RandomFlip all eight orientations of an image, including transposition, are
    equally likely.
    """

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Rotate pixels and points counter-clockwise; width and height may be exchanged."""
        turns = int(rng.integers(4))
        points = picture.points
        width, height = picture.size
        for _ in range(turns):
            points = np.stack([points[:, 1], width - points[:, 0]], axis=1)
            width, height = height, width
        pixels = np.rot90(picture.pixels, turns)
        return replace(picture, pixels=pixels, points=clipped_below(points, (width, height)))
