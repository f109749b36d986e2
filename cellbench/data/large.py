"""Pictures too large for memory, read part by part where their format allows it."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import TooLarge, image_size, read_image, stretch
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import check_file, megabytes

# Decoded tiles or strips that are kept; a strip is as wide as the picture.
_KEPT_BYTES = 256 * 2**20
_LARGEST_SEGMENT = 128 * 2**20
# Far more than any slide; the tables of a file are read whole.
_MOST_SEGMENTS = 4_000_000


class LargePicture:
    """A TIFF whose parts are decoded when they are asked for.

    It is indexed as the (H, W, 3) uint8 array that `read_image` would give, by slices of whole
    pixels along y and x.

    Attributes:
        shape: (H, W, 3).
        dtype: uint8.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, path: Path) -> None:
        """Read the tables of a file.

        Raises:
            UserError: its tiles or strips cannot be read one by one; one sentence.
        """
        self.path = path
        check_file(path, most=FILE.size)
        self._file, self._page = _first_page(path)
        try:
            self._layout = _read_layout(self._page)
            why = self._layout.refusal()
        except Exception as error:  # tables may hold anything
            self.close()
            raise self._damaged(str(error).partition("\n")[0] or type(error).__name__) from error
        if why:
            self.close()
            raise UserError(
                f"{path} is too large to be read at once and cannot be read in tiles ({why}); save "
                "it as a tiled TIFF of 8 bits, uncompressed or deflated."
            )
        self.shape = (self._layout.height, self._layout.width, 3)
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._range: tuple[float, float] | None = None

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[np.uint8]:
        """The pixels of a region, (h, w, 3) uint8; slices as NumPy takes them, without steps."""
        top, bottom, _ = key[0].indices(self.shape[0])
        left, right, _ = key[1].indices(self.shape[1])
        height, width = max(0, bottom - top), max(0, right - left)
        at = self._layout
        raw = np.zeros((height, width, at.samples), at.dtype)
        for row in range(top // at.down, -(-bottom // at.down)):
            for column in range(left // at.across, -(-right // at.across)):
                segment = self._segment(row * at.columns + column)
                y, x = row * at.down, column * at.across
                y_from, y_to = max(top, y), min(bottom, y + segment.shape[0])
                x_from, x_to = max(left, x), min(right, x + segment.shape[1])
                if y_from < y_to and x_from < x_to:
                    raw[y_from - top : y_to - top, x_from - left : x_to - left] = segment[
                        y_from - y : y_to - y, x_from - x : x_to - x
                    ]
        return self._as_rgb(raw)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _segment(self, index: int) -> NDArray[Any]:
        """A decoded tile or strip, (h, w, samples)."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        page, at = self._page, self._layout
        try:
            offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
            if not 0 <= count <= 2 * _LARGEST_SEGMENT:
                raise ValueError(f"a tile of {megabytes(count)}")
            handle = self._file.filehandle
            handle.seek(offset)
            decoded, _, _ = page.decode(handle.read(count), index, _fullsize=page.is_tiled)
            if decoded is None:  # a tile that was never written
                decoded = np.zeros((1, at.down, at.across, at.samples), at.dtype)
            array: NDArray[Any] = decoded[0]
            if array.ndim != 3 or array.shape[2] != at.samples or array.dtype != at.dtype:
                raise ValueError("a tile of another shape")
        except Exception as error:  # decoders raise nearly anything on hostile bytes
            raise self._damaged(str(error).partition("\n")[0] or type(error).__name__) from error
        self._kept[index] = array
        self._kept_bytes += array.nbytes
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return array

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"{self.path} is damaged, or compressed in a way that cannot be read in tiles "
            f"({reason.rstrip('.')}); save it as a tiled TIFF, uncompressed or deflated."
        )

    def _as_rgb(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """As `read_image` makes RGB of the same numbers."""
        if raw.dtype == np.uint8:
            pixels = 255 - raw if self._layout.photometric == "MINISWHITE" else raw
        elif raw.shape[2] == 3:
            pixels = (raw >> 8).astype(np.uint8)
        else:
            if self._range is None:
                self._range = self._limits()
            pixels = stretch(raw, self._range)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def _limits(self) -> tuple[float, float]:
        """The least and the greatest finite value of the whole picture, which is read once."""
        low, high = np.inf, -np.inf
        for values in self._values():
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        return (low, high) if low <= high else (0.0, 0.0)

    def _values(self) -> Iterator[NDArray[Any]]:
        """The numbers of every tile that are inside the picture."""
        at = self._layout
        for index in range(at.segments):
            y, x = (index // at.columns) * at.down, (index % at.columns) * at.across
            yield self._segment(index)[: at.height - y, : at.width - x]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the tables of a TIFF say, in numbers and names."""

    height: int
    width: int
    depth: int
    down: int
    across: int
    samples: int
    dtype: "np.dtype[Any]"
    photometric: str
    interleaved: bool
    listed: int

    @property
    def columns(self) -> int:
        """Tiles side by side."""
        return math.ceil(self.width / self.across)

    @property
    def segments(self) -> int:
        """Tiles or strips of the picture."""
        return self.columns * math.ceil(self.height / self.down)

    def refusal(self) -> str:
        """Why its tiles cannot be read one by one; empty if they can."""
        if min(self.height, self.width, self.down, self.across, self.samples) < 1:
            return "it has no pixels"
        grey = self.samples == 1 and (
            self.photometric == "MINISBLACK"
            or (self.photometric == "MINISWHITE" and self.dtype == np.uint8)
        )
        rgb = self.samples == 3 and self.photometric == "RGB" and self.interleaved
        kinds = ("uint8", "uint16") if rgb else ("uint8", "uint16", "int32", "float32")
        if not (grey or rgb) or self.dtype.name not in kinds or self.depth != 1:
            return f"it is {self.photometric} of {self.samples} x {self.dtype}"
        size = self.down * self.across * self.samples * self.dtype.itemsize
        if size > _LARGEST_SEGMENT:
            return f"one of its strips takes {megabytes(size)}"
        if self.segments > min(self.listed, _MOST_SEGMENTS):
            return "some of its tiles are missing, or it has millions"
        return ""


def _read_layout(page: Any) -> _Layout:
    height, width = int(page.imagelength), int(page.imagewidth)
    tiled = page.is_tiled
    return _Layout(
        height=height,
        width=width,
        depth=int(page.imagedepth),
        down=int(page.tilelength) if tiled else min(int(page.rowsperstrip), height),
        across=int(page.tilewidth) if tiled else width,
        samples=int(page.samplesperpixel),
        dtype=np.dtype(page.dtype),
        photometric=str(page.photometric.name),
        interleaved=int(page.planarconfig) == 1,
        listed=min(len(page.dataoffsets), len(page.databytecounts)),
    )


def read_picture(path: Path) -> NDArray[np.uint8] | LargePicture:
    """The pixels of a picture, or, where they do not fit, what reads them part by part.

    Raises:
        UserError: as `read_image`; or the picture does not fit and its format does not allow it.
    """
    try:
        return read_image(path)
    except TooLarge as error:
        return _large(path, error)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture that `read_picture` reads, from its header."""
    try:
        return image_size(path)
    except TooLarge as error:
        picture = _large(path, error)
        picture.close()
        return picture.shape[1], picture.shape[0]


def _large(path: Path, error: TooLarge) -> LargePicture:
    if error.format != "TIFF":
        raise error
    return LargePicture(path)


def _first_page(path: Path) -> tuple[Any, Any]:
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    opened = None
    try:
        opened = tifffile.TiffFile(path)
        return opened, opened.pages[0]
    except Exception as error:  # hostile tables
        if opened is not None:
            opened.close()
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); get a fresh copy of it.") from error
