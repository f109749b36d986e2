"""Padding to the sizes that a network takes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cellbench.data.contracts import Picture, Transform
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadToMultiple(Transform):
    """Pads at the right and bottom until width and height are multiples of a number.

    The preprocessor of a counter does this by itself, and knows what is padding; this transform
    is for methods that want to see the padding as part of the image.
    """

    def __init__(self, *, multiple: int = 32, fill: Sequence[float] | None = None) -> None:
        """Set the multiple.

        Args:
            multiple: px, at least 1.
            fill: the colour, three numbers in 0..1; the picture's own mean if None.

        Raises:
            PartError: a multiple below 1, or a colour that isn't one.
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
        """Pad; points stay where they are."""
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
