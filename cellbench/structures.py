"""Data structures of annotated images (`CellSample`) and predictions (`Prediction`).

Points are `(x, y)` float32 in pixels; pixel column j covers [j, j+1), so a dot in pixel (row i,
column j) is the point (j + 0.5, i + 0.5). NumPy only: results and tables never need torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


def no_points() -> Points:
    """Return the (0, 2) array of an image without cells."""
    return np.zeros((0, 2), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class CellSample:
    """Annotations of an image, without its pixels.

    Attributes:
        image_id: unique within its data set; safe as a file name.
        points: (N, 2) float32, (x, y) in px of the original image.
        size: (width, height) in px of the original image.
        pixel_size_um: edge of a pixel in micrometres; None if unknown.
        counted: number of cells where only their number is annotated; `points` is empty then.
    """

    image_id: str
    points: Points
    size: tuple[int, int]
    pixel_size_um: float | None = None
    counted: int | None = None

    @property
    def count(self) -> int:
        """Number of annotated cells."""
        return len(self.points) if self.counted is None else self.counted


@dataclass(frozen=True, slots=True)
class Prediction:
    """A method's prediction for one image.

    Attributes:
        count: number of cells, never rounded.
        points: (N, 2) float32, (x, y) in px of the original image; None if the method has none.
        scores: (N,) float32 in [0, 1], one per point; None if the method has none.
        density: (H, W) float32 map that sums to the count; None if the method has none. Its
            cells tile the image evenly, whatever its stride.
    """

    count: float
    points: Points | None = None
    scores: NDArray[np.float32] | None = None
    density: NDArray[np.float32] | None = None
