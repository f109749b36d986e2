"""Images too large for memory, read part by part where their format allows it."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import TooLarge
from cellbench.data.large_picture import LargePicture
from cellbench.data.planes import choose_planes, colour_index
from cellbench.data.reader import (
    DEFAULT_READ_OPTIONS,
    ReadOptions,
    choice_of_planes,
    finite,
    picture_number,
    read_whole,
    size_of,
)
from cellbench.data.slides import (
    Slide,
    is_named_as_slide,
    needs_openslide,
    openslide_is_there,
    slide_size,
)
from cellbench.data.tiff_files import TiffRaster, check_segment
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import megabytes, open_file

# Size of the cache of decoded tiles or strips; a strip is as wide as the image.
_KEPT_BYTES = 256 * 2**20
_LARGEST_SEGMENT = 128 * 2**20
# Far more than any slide has; the tables of a file are read whole.
_MOST_SEGMENTS = 4_000_000


class LargeTiff(LargePicture):
    """TIFF whose tiles or strips are decoded on request."""

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS) -> None:
        """Read the tables of a file, and windows of its image.

        Raises:
            UserError: its tiles or strips cannot be read one by one.
        """
        self.path = path
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
            choice_of_planes(raster, options.planes),
            name=name,
            channel_names=raster.channel_names,
            colour=raster.colour,
        )
        self._sample = colour_index(options.planes, name) if raster.colour else None
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
        self._choose_range(options, [*raster.notes, *chosen.notes])

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _numbers(self, down: slice, across: slice) -> NDArray[Any]:
        """Return the finite values of a region, (h, w) or (h, w, 3)."""
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
        """Return a decoded tile or strip, (h, w, samples)."""
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
    """Layout of the tiles or strips of a TIFF, from its tables."""

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
        """Number of tiles side by side."""
        return math.ceil(self.width / self.across)

    @property
    def segments(self) -> int:
        """Number of tiles or strips of the image."""
        return self.columns * math.ceil(self.height / self.down)

    def refusal(self) -> str:
        """Return why the tiles cannot be read one by one; empty if they can."""
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


Pixels = NDArray[np.uint8] | LargePicture
"""(H, W, 3) uint8 RGB, in memory or read part by part."""


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """Opened image, in memory or read part by part.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        range: the values that became 0 and 255.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the file states them.
        notes: decisions made in reading, one phrase each.
    """

    pixels: Pixels
    range: tuple[float, float]
    pixel_size_um: tuple[float, float] | None
    notes: tuple[str, ...]


def open_picture(
    path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS, *, factor: float = 1.0
) -> OpenedPicture:
    """Read an image or, if it does not fit in memory, prepare to read it part by part.

    Args:
        path: of the image.
        options: how it is read.
        factor: wanted px per px of the file; of a slide that does not fit, the coarsest level that
            is as fine is read.

    Raises:
        UserError: as `read_whole`; or the image does not fit and its format is read only whole.
    """
    if needs_openslide(path):
        return _in_parts(Slide(path, options, factor=factor))
    try:
        read = read_whole(path, options)
        return OpenedPicture(read.pixels, read.range, read.pixel_size_um, read.notes)
    except TooLarge as error:
        if error.format != "TIFF":
            raise
    if not is_named_as_slide(path):
        return _in_parts(LargeTiff(path, options))
    if openslide_is_there():
        return _in_parts(Slide(path, options, factor=factor))
    try:
        return _in_parts(LargeTiff(path, options))
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}, or pip install 'cellbench[slides]', which reads slides."
        ) from None


def _in_parts(large: LargePicture) -> OpenedPicture:
    return OpenedPicture(large, large.range, large.pixel_size_um, large.notes)


def full_size(path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS) -> tuple[int, int]:
    """Return (width, height) in px of an image file, from its tables alone.

    Raises:
        UserError: as `open_picture`, except for damage behind the header.
    """
    return slide_size(path) if needs_openslide(path) else size_of(path, options)
