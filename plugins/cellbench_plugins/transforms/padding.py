"""Padding of images to a multiple of a number of pixels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadToMultiple(Transform):
    """Padding at the right and bottom, to a width and height that are multiples of a number.

    The preprocessor of a counter pads by itself and masks the padding; this transform is for
    methods that treat the padding as part of the image.
    """

    def __init__(self, *, multiple: int = 32, fill: Sequence[float] | None = None) -> None:
        """Set the multiple.

        Args:
            multiple: px, at least 1.
            fill: the colour, three numbers in 0..1; the mean of the image if None.

        Raises:
            PartError: a multiple below 1, or an invalid colour.
        """
        if multiple < 1:
            raise PartError(
                f"PadToMultiple: multiple is {multiple}; it is a whole number of at least 1 px."
            )
        if fill is not None and not (len(fill) == 3 and all(0 <= value <= 1 for value in fill)):
            raise PartError(
                f"PadToMultiple: fill is {tuple(fill)}; a colour is three numbers in 0..1."
            )
        self.multiple = multiple
        self.fill = fill

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Pad the image; points do not move."""
        width, height = picture.size
        missing_x, missing_y = -width % self.multiple, -height % self.multiple
        pixels = picture.pixels
        white = 255.0 if pixels.dtype == np.uint8 else 1.0
        if self.fill is None:
            colour = pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64)
        else:
            colour = white * np.array(self.fill)
        if pixels.dtype == np.uint8:
            colour = colour.round()
        padded = np.empty((height + missing_y, width + missing_x, 3), dtype=pixels.dtype)
        padded[:] = colour.astype(pixels.dtype)
        padded[:height, :width] = pixels
        return replace(picture, pixels=padded)
