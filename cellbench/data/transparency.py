"""Transparency, laid on the ground that the picture has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import Decoded


def laid_on_ground(plane: Decoded) -> tuple[NDArray[Any], str]:
    """Lay a picture on the colour that it has where its transparency begins.

    Black or white behind a picture would make an edge, and cells of it, where the picture ends.
    What is transparent as a whole is taken as if it were opaque.

    Args:
        plane: with or without alpha.

    Returns:
        Numbers of the type that came, and what was decided, empty where all is opaque.
    """
    values, alpha = plane.values, plane.alpha
    if alpha is None or (alpha >= 1).all():
        return values, ""
    if not (alpha > 0).any():
        return values, "wholly transparent, counted as if opaque"
    ground = _ground(values, alpha)
    weight = alpha if values.ndim == 2 else alpha[:, :, None]
    front = values.astype(np.float64)
    laid = (front if plane.premultiplied else front * weight) + ground * (1 - weight)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        laid = np.clip(np.rint(laid), limits.min, limits.max)
    return laid.astype(values.dtype), "its transparency was laid on its ground"


def _ground(values: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
    """The median colour of what is visible beside what is not."""
    from scipy.ndimage import binary_dilation

    clear = alpha <= 0
    edge = binary_dilation(clear, np.ones((3, 3), bool)) & ~clear if clear.any() else ~clear
    if not edge.any():
        edge = ~clear
    if not clear.any():  # half transparent all over: what is most opaque shows the ground
        edge = alpha >= np.quantile(alpha, 0.5)
    return np.median(values[edge].astype(np.float64), axis=0)
