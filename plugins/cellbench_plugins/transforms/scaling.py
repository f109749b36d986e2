"""Resizing of whole pictures, for pipelines that need it as a step of its own.

A set's resolution is its `input_scale`: training crops and scored images both follow it. These
transforms act in training alone.
"""

import math
from dataclasses import replace

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.data.resampling import move_points, resample, scaled_length
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Upscale(Transform):
    """Resizes by a fixed factor; cells that lie closer than a stride need it."""

    def __init__(self, *, factor: float) -> None:
        """Set the factor.

        Args:
            factor: px of the result per px of the picture; above or below 1.

        Raises:
            PartError: it isn't positive.
        """
        if not 0 < factor < math.inf:
            raise PartError(f"Upscale: factor is {factor}; it is a positive number.")
        self.factor = float(factor)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Resize; points are scaled by exactly the factor."""
        return _scaled(picture, self.factor)


@TRANSFORMS.register_module()
class RandomScale(Transform):
    """Resizes by a random factor; cells come in several sizes.

    Where a RandomCrop follows, its `jitter` does the same in one resize.
    """

    def __init__(self, *, low: float = 0.7, high: float = 1.3) -> None:
        """Set the range.

        Args:
            low: least factor.
            high: most factor; drawn log-uniformly.

        Raises:
            PartError: the factors aren't positive and in order.
        """
        if not 0 < low <= high < math.inf:
            raise PartError(
                f"RandomScale: low is {low} and high is {high}; they are positive, low first."
            )
        self.low, self.high = float(low), float(high)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Resize; points are scaled by exactly the factor drawn."""
        return _scaled(picture, math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@TRANSFORMS.register_module()
class Resize(Transform):
    """Resizes to a fixed width and height, each by its own ratio."""

    def __init__(self, *, width: int, height: int) -> None:
        """Set the size.

        Args:
            width: px, at least 1.
            height: px, at least 1.

        Raises:
            PartError: a length below 1.
        """
        if width < 1 or height < 1:
            raise PartError(
                f"Resize: the size is {width} x {height}; both are whole numbers of at least 1 px."
            )
        self.size = (width, height)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Resize; points follow the exact ratio of each axis.

        Returns:
            A Picture whose `scale` is the geometric mean of the two ratios.
        """
        width, height = picture.size
        ratio = math.sqrt(self.size[0] / width * self.size[1] / height)
        box = (0, 0, width, height)
        return replace(
            picture,
            pixels=resample(picture.pixels, box=box, size=self.size),
            points=move_points(picture.points, box=box, size=self.size),
            scale=picture.scale * ratio,
        )


def _scaled(picture: Picture, factor: float) -> Picture:
    width, height = (scaled_length(edge, factor) for edge in picture.size)
    box = (0, 0, width / factor, height / factor)
    return replace(
        picture,
        pixels=resample(picture.pixels, box=box, size=(width, height)),
        points=move_points(picture.points, box=box, size=(width, height)),
        scale=picture.scale * factor,
    )
