"""Apply the EXIF orientation of an image; points refer to the oriented image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def oriented(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rotate or mirror an image by its EXIF orientation.

    Args:
        values: (H, W, ...) as stored.
        orientation: 1 to 8, see TIFF 6.0, tag Orientation.

    Returns:
        A view with the first row on top and the first column at the left.
    """
    if orientation >= 5:
        values = values.swapaxes(0, 1)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    if orientation in (2, 3):
        values = np.flip(values, axis=1)
    if orientation in (3, 4):
        values = np.flip(values, axis=0)
    return values


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of an image after `oriented`."""
    return (size[1], size[0]) if orientation >= 5 else size
