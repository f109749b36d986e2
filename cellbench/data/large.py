"""Pictures too large for memory, read part by part where their format allows it."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import TooLarge
from cellbench.data.intensities import Mapping, choose_sampled_mapping, to_unit_bytes, windows_of
from cellbench.data.planes import choose_planes, sample_of
from cellbench.data.reader import (
    AS_THEY_COME,
    ReadOptions,
    ReadPicture,
    finite,
    picture_number,
    read_whole,
)
from cellbench.data.tiff_files import TiffRaster, check_segment
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import megabytes, open_file

# Decoded tiles or strips that are kept; a strip is as wide as the picture.
_KEPT_BYTES = 256 * 2**20
_LARGEST_SEGMENT = 128 * 2**20
# Far more than any slide; the tables of a file are read whole.
_MOST_SEGMENTS = 4_000_000


class LargePicture:
    """A TIFF whose parts are decoded when they are asked for.

    It is indexed as the (H, W, 3) uint8 array that `read_whole` would give, by slices of whole
    pixels along y and x. The range of its numbers is chosen on windows all over it.

    Attributes:
        shape: (H, W, 3).
        dtype: uint8.
        range: the numbers that become 0 and 255.
        pixel_size_um: (x, y) edges of a pixel, where the file states them.
        notes: what was decided, in words.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, path: Path, options: ReadOptions = AS_THEY_COME) -> None:
        """Read the tables of a file, and windows of its picture.

        Raises:
            UserError: its tiles or strips cannot be read one by one; one sentence.
        """
        self.path = path
        self._invert = options.invert
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        try:
            self._stream = open_file(path, most=FILE.size)
        except OSError as error:
            raise UserError(f"{path} cannot be opened ({error.strerror}).") from error
        try:
            self._open(options)
        except UserError:
            self.close()
            raise
        except Exception as error:  # tables may hold anything
            self.close()
            raise self._damaged(str(error).partition("\n")[0] or type(error).__name__) from error

    def _open(self, options: ReadOptions) -> None:
        name = str(self.path)
        self._raster = raster = TiffRaster(
            self._stream, name=name, series=picture_number(options.planes)
        )
        chosen = choose_planes(
            raster.axes,
            options.planes,
            name=name,
            channel_names=raster.channel_names,
            colour=raster.colour,
        )
        self._sample = sample_of(options.planes, name) if raster.colour else None
        if len(chosen.colours) > 1 or chosen.project is not None:
            raise UserError(
                f"{name} is too large to be read at once, and one plane at a time can be read in "
                "tiles; name one --channel and one --page."
            )
        self._page = raster.page_of(chosen.colours[0][0])
        self._layout = _read_layout(self._page)
        why = self._layout.refusal()
        if raster.orientation != 1:
            why = "its orientation turns it"
        if why:
            raise UserError(
                f"{name} is too large to be read at once and cannot be read in tiles ({why}); save "
                "it as a tiled TIFF of grey or RGB."
            )
        self.shape = (self._layout.height, self._layout.width, 3)
        self.pixel_size_um = raster.pixel_size_um
        notes = [*raster.notes, *chosen.notes]
        if options.range is not None:
            self._mapping = Mapping(*options.range)
        else:
            windows = windows_of(self._layout.height, self._layout.width)
            parts = [self._numbers(y, x) for y, x in windows]
            together = np.concatenate([part.reshape(-1, 1, *part.shape[2:]) for part in parts])
            self._mapping = choose_sampled_mapping(together, lambda: parts)
        if self._mapping.note:
            notes.append(self._mapping.note)
        if self._invert:
            notes.append("inverted")
        self.range = (self._mapping.low, self._mapping.high)
        self.notes = tuple(notes)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[np.uint8]:
        """The pixels of a region, (h, w, 3) uint8; slices as NumPy takes them, without steps."""
        numbers = self._numbers(key[0], key[1])
        pixels = to_unit_bytes(numbers, self._mapping, invert=self._invert)
        return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _numbers(self, down: slice, across: slice) -> NDArray[Any]:
        """The finite numbers of a region, (h, w) or (h, w, 3)."""
        top, bottom, _ = down.indices(self._layout.height)
        left, right, _ = across.indices(self._layout.width)
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
        values = self._raster.interpreted(raw if at.samples > 1 else raw[:, :, 0]).values
        if self._sample is not None and values.ndim == 3:
            values = values[:, :, self._sample]
        return finite(values, str(self.path), empty=0.0)[0]

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
            self._stream.seek(offset)
            data = self._stream.read(count)
            if not at.bounded:
                check_segment(data, at.down * at.across)
            decoded, _, _ = page.decode(
                data,
                index,
                jpegtables=page.jpegtables,
                jpegheader=page.jpegheader,
                _fullsize=page.is_tiled,
            )
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
    interleaved: bool
    bounded: bool
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
        if self.depth != 1 or not (self.interleaved or self.samples == 1) or self.samples > 5:
            return f"it has {self.samples} samples a pixel that lie apart"
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
        interleaved=int(page.planarconfig) == 1,
        bounded=TiffRaster.is_bounded(page),
        listed=min(len(page.dataoffsets), len(page.databytecounts)),
    )


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A picture in memory, or what reads it part by part.

    Attributes:
        pixels: as `ReadPicture.pixels`, or a `LargePicture`; (H, W, 3).
        range: the numbers that became 0 and 255.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the file states them.
        notes: what was decided, in words.
    """

    pixels: NDArray[np.uint8] | LargePicture
    range: tuple[float, float]
    pixel_size_um: tuple[float, float] | None
    notes: tuple[str, ...]


def open_picture(path: Path, options: ReadOptions = AS_THEY_COME) -> OpenedPicture | ReadPicture:
    """Read a picture or, where it does not fit, prepare to read it part by part.

    Raises:
        UserError: as `read_whole`; or the picture does not fit and its format does not allow it.
    """
    try:
        return read_whole(path, options)
    except TooLarge as error:
        if error.format != "TIFF":
            raise
        large = LargePicture(path, options)
        return OpenedPicture(large, large.range, large.pixel_size_um, large.notes)
