"""Blend transparent pixels with the image's own background colour."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import Decoded


def blended_with_background(plane: Decoded) -> tuple[NDArray[Any], str]:
    """Blend a plane with the median colour of its visible pixels next to transparent ones.

    Black or white as background would create an edge at the border of the visible part, and false
    cells. An image that is transparent everywhere is read as if it were opaque.

    Args:
        plane: plane with or without alpha.

    Returns:
        Values of the same type, and a note; the note is empty if the plane is opaque.
    """
    values, alpha = plane.values, plane.alpha
    if alpha is None or (alpha >= 1).all():
        return values, ""
    if not (alpha > 0).any():
        return values, "wholly transparent, counted as if opaque"
    background = _background_colour(values, alpha)
    weight = alpha if values.ndim == 2 else alpha[:, :, None]
    front = values.astype(np.float64)
    blended = (front if plane.premultiplied else front * weight) + background * (1 - weight)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        blended = np.clip(np.rint(blended), limits.min, limits.max)
    return blended.astype(values.dtype), "its transparency was laid on its ground"


def _background_colour(values: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
    """Estimate the background as the median colour of visible pixels next to invisible ones."""
    from scipy.ndimage import binary_dilation

    clear = alpha <= 0
    edge = binary_dilation(clear, np.ones((3, 3), bool)) & ~clear if clear.any() else ~clear
    if not edge.any():
        edge = ~clear
    if not clear.any():  # partly transparent everywhere: use the more opaque half
        edge = alpha >= np.quantile(alpha, 0.5)
    return np.median(values[edge].astype(np.float64), axis=0)
