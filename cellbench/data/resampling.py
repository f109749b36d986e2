"""Cutting and resizing, pixels and points together, by one exact ratio.

Training crops and whole images go through the same function, so that a network meets in scoring
what it was trained on.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.structures import Points

Box = tuple[float, float, float, float]

# Filter reach in px of the finer of the two grids; bilinear neither overshoots nor rings.
_FILTER = Image.Resampling.BILINEAR
_REACH = 1.0


def scaled_length(length: int, scale: float) -> int:
    """How many pixels an edge has at a scale.

    Rounded up, so that no part of the image is cut off; what the last pixel holds beyond the
    image repeats its border. Rounding never changes the ratio: pixels and points are scaled by
    exactly `scale`, and a prediction divided by it is a point of the original image.

    Args:
        length: px of the original image.
        scale: px of the result per px of the original.
    """
    # A product like 150 * 1.1 = 165.00000000000003 is meant to be whole.
    return max(1, math.ceil(length * scale - 1e-6))


def resample(
    pixels: NDArray[np.generic], *, box: Box, size: tuple[int, int]
) -> NDArray[np.generic]:
    """Resize a part of an image in one go, with antialiasing.

    Beyond its border an image repeats its outermost pixels. A box that is cut on whole pixels
    and not resized is copied exactly.

    Args:
        pixels: (H, W, 3) uint8 or float32.
        box: (left, top, right, bottom) in px, fractions allowed; meets the image.
        size: (width, height) of the result.

    Returns:
        (height, width, 3) of the same type; never shares memory with `pixels`.
    """
    left, top, right, bottom = box
    width, height = size
    whole = (left, top, right, bottom) == tuple(map(round, box))
    if whole and (right - left, bottom - top) == (width, height):
        return _region(pixels, int(left), int(top), int(right), int(bottom)).copy()
    reach_x = math.ceil(_REACH * max(1.0, (right - left) / width)) + 1
    reach_y = math.ceil(_REACH * max(1.0, (bottom - top) / height)) + 1
    column, row = math.floor(left) - reach_x, math.floor(top) - reach_y
    # Only what the filter can see is handed to Pillow, which copies all that it is given.
    part = _region(pixels, column, row, math.ceil(right) + reach_x, math.ceil(bottom) + reach_y)
    inner = (left - column, top - row, right - column, bottom - row)
    if part.dtype == np.uint8:
        return np.array(Image.fromarray(part).resize(size, _FILTER, box=inner))
    planes = [
        np.asarray(Image.fromarray(part[:, :, channel]).resize(size, _FILTER, box=inner))
        for channel in range(part.shape[2])
    ]
    return np.stack(planes, axis=2)


def move_points(points: Points, *, box: Box, size: tuple[int, int]) -> Points:
    """The points inside a part of an image, in the frame of its resized copy.

    Args:
        points: (N, 2) float, (x, y) px.
        box: (left, top, right, bottom) in px; half-open.
        size: (width, height) of the resized copy.

    Returns:
        (M, 2) float32 in [0, width) x [0, height), in the order given; (0, 2) if none is inside.
    """
    exact = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    low, high = np.array(box[:2]), np.array(box[2:])
    inside = ((exact >= low) & (exact < high)).all(axis=1)
    return below((exact[inside] - low) * (np.array(size) / (high - low)), size)


def below(points: NDArray[np.floating], size: tuple[int, int]) -> Points:
    """Points as float32 that stay below the right and bottom edge.

    A coordinate that lies on the edge, or that rounding would put there, becomes the largest
    float32 below it: frames are half-open, and a target map has no cell for the edge itself.

    Args:
        points: (N, 2), (x, y) px.
        size: (width, height) px.
    """
    last = np.nextafter(np.array(size, dtype=np.float32), np.float32(0))
    return np.minimum(points.astype(np.float32), last)


def _region(
    pixels: NDArray[np.generic], left: int, top: int, right: int, bottom: int
) -> NDArray[np.generic]:
    """Whole pixels [top, bottom) x [left, right); the border repeats beyond the image."""
    height, width = pixels.shape[:2]
    part = pixels[max(top, 0) : bottom, max(left, 0) : right]
    outside = (
        (max(-top, 0), max(bottom - height, 0)),
        (max(-left, 0), max(right - width, 0)),
        (0, 0),
    )
    return np.pad(part, outside, mode="edge") if any(map(any, outside)) else part
