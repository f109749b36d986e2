"""Base class of images too large for memory, which are read part by part."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.data.intensities import (
    IntensityRange,
    choose_sampled_range,
    to_unit_bytes,
    windows_of,
)
from cellbench.data.reader import ReadOptions


class LargePicture(ABC):
    """Image whose parts are decoded on request.

    It is indexed as the (H, W, 3) uint8 array that `read_whole` would return, by slices of whole
    pixels along y and x. The range of its values is chosen on windows all over it.

    Attributes:
        path: of the file.
        shape: (H, W, 3).
        dtype: uint8.
        range: the values that become 0 and 255.
        pixel_size_um: (x, y) edges of a pixel of the file in micrometres, where it states them.
        downsample: px of the file per px of this image, along each edge.
        notes: decisions made in reading, one phrase each.
    """

    dtype: ClassVar["np.dtype[np.uint8]"] = np.dtype(np.uint8)
    ndim: ClassVar[int] = 3
    path: Path
    shape: tuple[int, int, int]
    range: tuple[float, float]
    pixel_size_um: tuple[float, float] | None
    downsample: float = 1.0
    notes: tuple[str, ...]
    _mapping: IntensityRange
    _invert: bool

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def _numbers(self, down: slice, across: slice) -> NDArray[Any]:
        """Return the finite values of a region, (h, w) or (h, w, 3)."""

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[np.uint8]:
        """Return the pixels of a region, (h, w, 3) uint8; slices as in NumPy, without steps."""
        numbers = self._numbers(key[0], key[1])
        pixels = to_unit_bytes(numbers, self._mapping, invert=self._invert)
        return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

    def _choose_range(self, options: ReadOptions, notes: Sequence[str]) -> None:
        """Set the range from the options, or choose one on windows; store the notes."""
        found = list(notes)
        self._invert = options.invert
        if options.range is not None:
            self._mapping = IntensityRange(*options.range)
        else:
            parts = [self._numbers(y, x) for y, x in windows_of(self.shape[0], self.shape[1])]
            sample = np.concatenate([part.reshape(-1, 1, *part.shape[2:]) for part in parts])
            self._mapping = choose_sampled_range(sample, lambda: parts)
        if self._mapping.note:
            found.append(self._mapping.note)
        if self._invert:
            found.append("inverted")
        self.range = (self._mapping.low, self._mapping.high)
        self.notes = tuple(found)
