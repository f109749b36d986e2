"""Removal of single pixels that no optics make: hot and dead ones of a sensor."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Least distance from the median, in widths of the range of nine tenths of the pixels.
_FAR = 20.0
# Greatest height of a neighbour, as a share of the pixel's; behind an objective it is a third.
_ISOLATED = 0.1
# Greatest share of hot pixels; where more stand out, all are kept.
_MOST_SHARE = 1e-3


def _quantiles(values: NDArray[Any], shares: tuple[float, ...]) -> list[float]:
    """Compute quantiles as `np.quantile`; of bytes by a histogram, in a tenth of the time."""
    if values.dtype != np.uint8:
        return [float(value) for value in np.quantile(values, shares)]
    until = np.bincount(values.reshape(-1), minlength=256).cumsum()
    found = []
    for share in shares:
        place = share * (values.size - 1)
        low, high = np.searchsorted(until, [int(place), int(np.ceil(place))], side="right")
        found.append(float(low + (high - low) * (place - int(place))))
    return found


def without_hot_pixels(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Replace single pixels far beyond all others by the median of their neighbours.

    An image that uses the range of its type has none: no value lies that far away.

    Args:
        values: (H, W) or (H, W, 3), finite.

    Returns:
        The values, as the same array if nothing was replaced; the number of replaced pixels.
    """
    if min(values.shape[:2]) < 3:
        return values, 0
    replaced = 0
    out = values
    for channel in range(values.shape[2]) if values.ndim == 3 else (None,):
        plane = values if channel is None else values[:, :, channel]
        stride = max(1, int(np.sqrt(plane.size / 1_000_000)))
        low, middle, high = _quantiles(plane[::stride, ::stride], (0.05, 0.5, 0.95))
        width = max(high - low, 1e-9 * max(1.0, abs(middle)))
        above, below = middle + _FAR * width, middle - _FAR * width
        rows, columns = np.nonzero((plane > above) | (plane < below))
        if not 0 < len(rows) <= max(3, _MOST_SHARE * plane.size):
            continue
        padded = np.pad(plane, 1, mode="reflect")
        around = np.stack(
            [
                padded[rows + 1 + down, columns + 1 + right]
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
                if (down, right) != (0, 0)
            ]
        ).astype(np.float64)
        height = plane[rows, columns].astype(np.float64) - middle
        isolated = (np.abs(around - middle) <= _ISOLATED * np.abs(height)).all(axis=0)
        if isolated.any():
            if out is values:
                out = values.copy()
            target = out if channel is None else out[:, :, channel]
            median = np.median(around[:, isolated], axis=0)
            if out.dtype.kind in "iu":
                median = np.rint(median)
            target[rows[isolated], columns[isolated]] = median
            replaced += int(isolated.sum())
    return out, replaced
