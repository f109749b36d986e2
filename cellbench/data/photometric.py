"""Photometric interpretations of TIFF, undone: more is brighter, colour is red, green and blue."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError


def greatest(dtype: "np.dtype[Any]", bits: int) -> float:
    """The greatest number that samples of a type and so many bits have."""
    if dtype.kind == "f":
        return 1.0
    if dtype.kind == "i":
        return float(2 ** (8 * dtype.itemsize - 1) - 1)
    return float(2 ** min(int(bits), 8 * dtype.itemsize) - 1)


def inverted(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Numbers whose least one is white, the other way round."""
    if values.dtype.kind == "u":
        return values.dtype.type(int(greatest(values.dtype, bits))) - values
    if values.dtype.kind == "i":
        return -1 - values
    return -values


def coloured(values: NDArray[Any], colours: Any, name: str) -> NDArray[Any]:
    """The colours of a palette, (H, W, 3); grey where they all are."""
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
    """Red, green and blue that stay white where there is no ink."""
    if values.dtype.kind == "f":
        return ((limit - values[:, :, :3]) * (limit - values[:, :, 3:4]) / limit).astype(
            values.dtype
        )
    light = np.float32(limit) - values.astype(np.float32)
    mixed = np.rint(light[:, :, :3] * (light[:, :, 3:4] / np.float32(limit)))
    return mixed.astype(values.dtype)
