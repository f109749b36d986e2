"""Convert TIFF samples to grey or RGB in which a greater number is brighter."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError


def greatest(dtype: "np.dtype[Any]", bits: int) -> float:
    """Return the greatest sample value of a type and bit depth; 1 for floating point."""
    if dtype.kind == "f":
        return 1.0
    if dtype.kind == "i":
        return float(2 ** (8 * dtype.itemsize - 1) - 1)
    return float(2 ** min(int(bits), 8 * dtype.itemsize) - 1)


def inverted(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Invert samples whose least value is white."""
    if values.dtype.kind == "u":
        return values.dtype.type(int(greatest(values.dtype, bits))) - values
    if values.dtype.kind == "i":
        return -1 - values
    return -values


def coloured(values: NDArray[Any], colours: Any, name: str) -> NDArray[Any]:
    """Look up palette indices as colours.

    Returns:
        (H, W, 3), uint8 if the palette's 16-bit values only repeat 8-bit ones.

    Raises:
        UserError: the palette is missing or lacks an index.
    """
    if colours is None or values.dtype.kind != "u":
        raise UserError(f"{name} lacks the colours of its palette; get a fresh copy of it.")
    table = np.asarray(colours).T  # (N, 3)
    if len(table) <= int(values.max(initial=0)):
        raise UserError(f"{name} uses colours that its palette lacks; get a fresh copy of it.")
    if table.dtype == np.uint16 and not (table % 257).any():
        table = (table // 257).astype(np.uint8)
    elif table.dtype == np.uint16 and not (table % 256).any():
        table = (table // 256).astype(np.uint8)
    return table[values]


def from_cmyk(values: NDArray[Any], limit: float) -> NDArray[Any]:
    """Convert CMYK to RGB of the same type; no ink gives `limit`, which is white.

    Args:
        values: (H, W, 4).
        limit: greatest sample value.
    """
    if values.dtype.kind == "f":
        return ((limit - values[:, :, :3]) * (limit - values[:, :, 3:4]) / limit).astype(
            values.dtype
        )
    light = np.float32(limit) - values.astype(np.float32)
    mixed = np.rint(light[:, :, :3] * (light[:, :, 3:4] / np.float32(limit)))
    return mixed.astype(values.dtype)
