"""Crop and resize images and points by one exact scale.

Training crops and whole images use the same function, so inputs at evaluation match training.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.structures import Points

Box = tuple[float, float, float, float]

# Filter radius in px of the coarser of the two grids; bilinear neither overshoots nor rings.
_FILTER = Image.Resampling.BILINEAR
_REACH = 1.0


def scaled_length(length: int, scale: float) -> int:
    """Compute the length of an edge at a scale, px.

    The length is rounded up, so that no part of the image is cut off; the last pixel may reach
    beyond the image and repeats its border there. Rounding does not change the scale: pixels and
    points are scaled by exactly `scale`, and a prediction divided by it is a point of the original
    image.

    Args:
        length: px of the original image.
        scale: px of the result per px of the original.
    """
    # Treat products such as 150 * 1.1 = 165.00000000000003 as whole.
    return max(1, math.ceil(length * scale - 1e-6))


def resample(
    pixels: NDArray[np.generic], *, box: Box, size: tuple[int, int]
) -> NDArray[np.generic]:
    """Crop and resize an image in one step, with antialiasing.

    The outermost pixels are repeated beyond the border. A box on whole pixels that is not resized
    is copied exactly.

    Args:
        pixels: (H, W, 3) uint8 or float32.
        box: (left, top, right, bottom) in px, fractions allowed; must overlap the image.
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
    # Pillow copies its whole input, so it is given only the pixels that the filter needs.
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
    """Select the points inside a crop and transform them to the frame of its resized copy.

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
    return clipped_below((exact[inside] - low) * (np.array(size) / (high - low)), size)


def clipped_below(points: NDArray[np.floating], size: tuple[int, int]) -> Points:
    """Convert points to float32, clipped below the right and bottom edge.

    A coordinate on the edge, or rounded to it, becomes the largest float32 below it: frames are
    half-open, and a target map has no element for the edge itself.

    Args:
        points: (N, 2), (x, y) px.
        size: (width, height) px.
    """
    last = np.nextafter(np.array(size, dtype=np.float32), np.float32(0))
    return np.minimum(points.astype(np.float32), last)


def _region(
    pixels: NDArray[np.generic], left: int, top: int, right: int, bottom: int
) -> NDArray[np.generic]:
    """Crop whole pixels [top, bottom) x [left, right); the border repeats beyond the image."""
    height, width = pixels.shape[:2]
    part = pixels[max(top, 0) : bottom, max(left, 0) : right]
    outside = (
        (max(-top, 0), max(bottom - height, 0)),
        (max(-left, 0), max(right - width, 0)),
        (0, 0),
    )
    return np.pad(part, outside, mode="edge") if any(map(any, outside)) else part
