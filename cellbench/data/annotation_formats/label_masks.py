"""Positions of cells in a label mask: each label is one cell, in the middle of its pixels."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from cellbench.data.point_conventions import MASK_PIXELS
from cellbench.structures import Points, no_points


def label_points(labels: NDArray[np.integer]) -> Points:
    """Compute the position of every label.

    Args:
        labels: (H, W), 0 for the background.

    Returns:
        (N, 2) float32, (x, y) px in the order of the labels: the mean of an object's pixels, or
        the nearest of them if the mean is outside it (a crescent); (0, 2) without labels.
    """
    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape).astype(np.int32)
    if values[0] == 0 and len(values) == 1:
        return no_points()
    if values[0] != 0:
        compact += 1
    places = []
    for number, box in enumerate(find_objects(compact), start=1):
        if box is None:
            continue
        rows, columns = np.nonzero(compact[box] == number)
        middle = np.array([columns.mean(), rows.mean()])
        squares = (columns - middle[0]) ** 2 + (rows - middle[1]) ** 2
        nearest = int(squares.argmin())
        if squares[nearest] > 0.5:  # half the diagonal of a pixel, squared
            middle = np.array([columns[nearest], rows[nearest]], dtype=np.float64)
        places.append(middle + np.array([box[1].start, box[0].start]))
    shift = MASK_PIXELS.shift_px
    return (np.array(places, dtype=np.float64).reshape(-1, 2) + shift).astype(np.float32)
