"""Whether points lie on cells: compared with the same points turned and mirrored.

Cells differ from the ground around them. Where points in another order of x and y, turned or
mirrored fit the pictures and the points as they are do not, the annotation is of other axes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cellbench.structures import Points

# Sums of z-scores: a turn that fits has to be this clear, and the points as they are this unclear.
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
    """By how much each pixel differs from its surroundings, so that uneven light is no cell.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (H, W) float32, in standard deviations of the picture; None for one that is the same
        everywhere.
    """
    grey = gaussian_filter(pixels.astype(np.float32).mean(axis=2), _SMOOTH_PX)
    grey -= gaussian_filter(grey, 8 * _SMOOTH_PX)
    spread = float(grey.std())
    if spread == 0:
        return None
    return ((grey - float(grey.mean())) / spread).astype(np.float32)


class Placement:
    """Gathers how well points and their turns fit pictures."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("as they are", *_WORDS), 0.0)
        self._points = self._pictures = 0

    def add(self, pixels: NDArray[np.uint8], points: Points) -> None:
        """Take a picture in.

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
        for name, (x, y) in _turns(unit[:, 0], unit[:, 1]).items():
            columns = np.minimum((x * width).astype(int), width - 1)
            rows = np.minimum((y * height).astype(int), height - 1)
            self._sums[name] += float(contrast[rows, columns].sum())
        self._points += len(points)
        self._pictures += 1

    @property
    def mistake(self) -> str:
        """What fits and is not as it is, as the end of a sentence; empty if all is well."""
        root = max(1, self._points) ** 0.5
        clear = {name: abs(total) / root for name, total in self._sums.items()}
        own = clear.pop("as they are")
        best = max(clear, key=lambda name: clear[name])
        if clear[best] > _CLEAR and own < max(_UNCLEAR, clear[best] / _TIMES):
            return _WORDS[best]
        return ""


def _turns(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Points in 0..1 as they are and in the seven other ways to lay a picture."""
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
