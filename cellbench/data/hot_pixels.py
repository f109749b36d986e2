"""Single pixels that no optics make: hot ones of a sensor, and dead ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# How far beyond the range of nine tenths of the pixels, in widths of it.
_FAR = 20.0
# Of its height the greatest share that a neighbour may have; behind an objective it is a third.
_ALONE = 0.1
_MOST_SHARE = 1e-3


def _quantiles(values: NDArray[Any], shares: tuple[float, ...]) -> list[float]:
    """As `np.quantile`; of bytes from how often each occurs, which takes a tenth of the time."""
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

    A picture that uses the range of its numbers has none: nothing lies that far beyond it.

    Args:
        values: (H, W) or (H, W, 3), finite.

    Returns:
        The numbers, the same array where there is nothing to replace; how many were replaced.
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
        own = plane[rows, columns].astype(np.float64) - middle
        alone = (np.abs(around - middle) <= _ALONE * np.abs(own)).all(axis=0)
        if alone.any():
            if out is values:
                out = values.copy()
            target = out if channel is None else out[:, :, channel]
            median = np.median(around[:, alone], axis=0)
            if out.dtype.kind in "iu":
                median = np.rint(median)
            target[rows[alone], columns[alone]] = median
            replaced += int(alone.sum())
    return out, replaced
