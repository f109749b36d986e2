"""Resizing of whole images, for pipelines that need it as a separate step.

The resolution of a data set is its `input_scale`, which applies to training crops and to scored
images. These transforms apply in training only.
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
    """Resizing by a fixed factor, for example where cells lie closer than a stride."""

    def __init__(self, *, factor: float) -> None:
        """Set the factor.

        Args:
            factor: px of the result per px of the image; above or below 1.

        Raises:
            PartError: the factor is not positive.
        """
        if not 0 < factor < math.inf:
            raise PartError(f"Upscale: factor is {factor}; it is a positive number.")
        self.factor = float(factor)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Resize the image; points are scaled by exactly the factor."""
        return _scaled(picture, self.factor)


@TRANSFORMS.register_module()
class RandomScale(Transform):
    """Resizing by a random factor.

    Where a RandomCrop follows, its `jitter` has the same effect with a single resize.
    """

    def __init__(self, *, low: float = 0.7, high: float = 1.3) -> None:
        """Set the range.

        Args:
            low: smallest factor.
            high: largest factor; drawn log-uniformly.

        Raises:
            PartError: the factors are not positive and in order.
        """
        if not 0 < low <= high < math.inf:
            raise PartError(
                f"RandomScale: low is {low} and high is {high}; they are positive, low first."
            )
        self.low, self.high = float(low), float(high)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Resize the image; points are scaled by exactly the factor that was drawn."""
        return _scaled(picture, math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@TRANSFORMS.register_module()
class Resize(Transform):
    """Resizing to a fixed width and height, each by its own ratio."""

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
        """Resize the image; points follow the exact ratio of each axis.

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
