"""Detect swapped or mirrored axes of points, by the contrast of the images at the points.

Cells differ from the background. If the points fit the images only after x and y are swapped, or
the points rotated or mirrored, the annotation uses other axes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cellbench.structures import Points

# Thresholds of the sum of z-scores over the root of the number of points: a transformed fit must
# exceed _CLEAR, and the points as they are must stay below _UNCLEAR or below the transformed fit
# divided by _TIMES.
_CLEAR, _UNCLEAR, _TIMES = 10.0, 4.0, 3.0
_SMOOTH_PX = 2.0
_MOST_PICTURES = 60

_WORDS = {
    "swap": "x and y are swapped",
    "mirror": "they are mirrored from left to right",
    "flip": "they are turned upside down",
    "half": "they are turned by half a turn",
    "quarter": "they are turned by a quarter to the left",
    "three": "they are turned by a quarter to the right",
    "anti": "they are mirrored along the other diagonal",
}


def contrast_map(pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Compute the local contrast of each pixel, which removes uneven illumination.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (H, W) float32, in standard deviations of the contrast in the image; None for a constant
        image.
    """
    grey = gaussian_filter(pixels.astype(np.float32).mean(axis=2), _SMOOTH_PX)
    grey -= gaussian_filter(grey, 8 * _SMOOTH_PX)
    spread = float(grey.std())
    if spread == 0:
        return None
    return ((grey - float(grey.mean())) / spread).astype(np.float32)


class Placement:
    """Accumulated fit of points to images, as they are and rotated or mirrored."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("as they are", *_WORDS), 0.0)
        self._points = self._pictures = 0

    def add(self, pixels: NDArray[np.uint8], points: Points) -> None:
        """Add an image with its points; only the first 60 with points are used.

        Args:
            pixels: (H, W, 3) uint8.
            points: (N, 2) px.
        """
        if not len(points) or self._pictures >= _MOST_PICTURES:
            return
        contrast = contrast_map(pixels)
        if contrast is None:
            return
        height, width = contrast.shape
        unit = points.astype(np.float64) / [width, height]
        for name, (x, y) in _orientations(unit[:, 0], unit[:, 1]).items():
            columns = np.minimum((x * width).astype(int), width - 1)
            rows = np.minimum((y * height).astype(int), height - 1)
            self._sums[name] += float(contrast[rows, columns].sum())
        self._points += len(points)
        self._pictures += 1

    @property
    def mistake(self) -> str:
        """Likely mistake in the axes, as the end of a sentence; empty if there is none."""
        root = max(1, self._points) ** 0.5
        scores = {name: abs(total) / root for name, total in self._sums.items()}
        unchanged = scores.pop("as they are")
        best = max(scores, key=lambda name: scores[name])
        if scores[best] > _CLEAR and unchanged < max(_UNCLEAR, scores[best] / _TIMES):
            return _WORDS[best]
        return ""


def _orientations(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return points in 0..1 as they are and in the seven other orientations of an image."""
    return {
        "as they are": (x, y),
        "swap": (y, x),
        "mirror": (1 - x, y),
        "flip": (x, 1 - y),
        "half": (1 - x, 1 - y),
        "quarter": (1 - y, x),
        "three": (y, 1 - x),
        "anti": (1 - y, 1 - x),
    }
