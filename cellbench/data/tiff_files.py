"""TIFF and OME-TIFF reader: axes, planes, photometric interpretation and pixel size."""

import io
import logging
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import CannotDecodeError, Decoded, Raster
from cellbench.data.images import TooLarge
from cellbench.data.photometric import coloured, from_cmyk, greatest, inverted
from cellbench.data.pixel_sizes import tiff_pixel_size
from cellbench.data.tiff_series import channel_names, main_series, missing_planes_note
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE

# Samples of a pixel by photometric interpretation; no other interpretation is read.
_SAMPLES = {
    "MINISWHITE": 1, "MINISBLACK": 1, "RGB": 3, "PALETTE": 1, "SEPARATED": 4, "YCBCR": 3,
}  # fmt: skip
# Compressions whose decoder is limited to the declared number of bytes.
_BOUNDED = {
    "NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD", "PIXARLOG",
    "ZSTD_DEPRECATED",
}  # fmt: skip
# Compressions whose tiles are image files, with their size in their own header.
_PICTURES = {
    "JPEG", "JPEG2000", "APERIO_JP2000_RGB", "APERIO_JP2000_YCBC", "WEBP", "PNG",
    "WEBP_DEPRECATED", "JPEG_2000_LOSSY",
}  # fmt: skip
_SEGMENT_FORMATS = ("JPEG", "JPEG2000", "WEBP", "PNG")
_MOST_PAGES = 100_000
_HEAD = 1 << 16


class TiffRaster(Raster):
    """Main series of a TIFF file, without thumbnails, labels and pyramid levels.

    Attributes:
        page: tifffile page of the first plane.
    """

    def __init__(self, stream: BinaryIO, *, name: str, series: int | None = None) -> None:
        """Read the metadata without decoding pixels.

        Args:
            stream: open file, at its start.
            name: name of the file, for messages.
            series: index from 0 of the selected image among several; None if none is selected.

        Raises:
            UserError: the file has several images and none is selected, has too many pages, or is
                neither grey nor colour.
            CannotDecodeError: this reader cannot decode the file.
        """
        self.name = name
        self._file = open_tiff(stream)
        for number, _ in enumerate(self._file.pages):
            if number > _MOST_PAGES:
                raise UserError(f"{name} has more than {_MOST_PAGES} pages; cut it into pieces.")
        self.notes: list[str] = []
        self._series, self.pictures = main_series(self._file, name, series, self.notes)
        self.notes += filter(None, [missing_planes_note(self._file, self._series)])
        self.page: Any = self._series.keyframe
        self._check_kind()
        lengths = dict(zip(self._series.axes, self._series.shape, strict=True))
        if not set("YX") <= set(lengths):
            raise CannotDecodeError(f"axes {self._series.axes}")
        samples_are_colour = self._samples_are_colour()
        # Axes within a plane, in the order of its decoded numbers.
        self._within = "YXS" if samples_are_colour else "YX"
        self._pages_are_planes = _pages_are_planes(self._series, self.page)
        self.axes = {
            ("C" if letter == "S" else letter): length
            for letter, length in lengths.items()
            if letter not in self._within
        }
        self.size = (int(lengths["X"]), int(lengths["Y"]))
        self.colour = samples_are_colour and self._base in (3, 4)
        self.colour |= self.page.photometric.name == "PALETTE"
        self.channel_names = channel_names(self._file, self._series)
        self.pixel_size_um = tiff_pixel_size(self._file, self._series)
        self.orientation = int(_integer_tag(self.page, 274) or 1)

    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode one plane.

        Args:
            index: index by letter of `axes`.

        Raises:
            UserError: the plane is not in the file, or would take too much memory.
            CannotDecodeError: this reader cannot decode it.
        """
        if self._pages_are_planes:
            values, order = self._decode_page(self._flat_index(index)), self.page.axes
        else:
            self._refuse_large(int(np.prod(self._series.shape, dtype=np.int64)))
            values, order = self._series.asarray(maxworkers=1), self._series.axes
        for axis in reversed(range(len(order))):
            if order[axis] not in self._within:
                letter = "C" if order[axis] == "S" else order[axis]
                values = np.take(values, index.get(letter, 0), axis=axis)
        left = [letter for letter in order if letter in self._within]
        wanted = [letter for letter in self._within if letter in left]
        values = np.transpose(values, [left.index(letter) for letter in wanted])
        return self.interpreted(np.ascontiguousarray(values))

    def page_of(self, index: Mapping[str, int]) -> Any:
        """Return the tifffile page of a plane, whose tiles or strips can be decoded one by one.

        Raises:
            CannotDecodeError: planes are not pages of this file.
        """
        flat = self._flat_index(index)
        if not self._pages_are_planes or (flat and len(self._series.pages) == 1):
            raise CannotDecodeError("its planes are no pages")
        page = self._series[flat]
        if page is None:
            raise CannotDecodeError("its planes are in other files")
        return page.aspage()

    @staticmethod
    def is_bounded(page: Any) -> bool:
        """Return whether tiles or strips of a page decompress to at most their declared size."""
        return page.compression.name in _BOUNDED

    def close(self) -> None:
        """Close the tifffile object; the stream belongs to the caller."""
        self._file.close()

    def _flat_index(self, index: Mapping[str, int]) -> int:
        """Return the number of a plane in the series."""
        outer = [
            letter
            for letter in self._series.axes
            if letter in self.axes and letter not in self.page.axes
        ]
        lengths = [self.axes[letter] for letter in outer]
        place = [index.get(letter, 0) for letter in outer]
        return int(np.ravel_multi_index(place, lengths)) if outer else 0

    def _decode_page(self, flat: int) -> NDArray[Any]:
        page = self._series[flat] if flat < len(self._series) else None
        if page is None:
            raise UserError(
                f"{self.name} names planes that are in other files; put them into one file."
            )
        self._refuse_large(int(np.prod(self.page.shape, dtype=np.int64)))
        if len(self._series.pages) > 1 or flat == 0:
            self._check_segments(page.aspage())
            values: NDArray[Any] = page.asarray(maxworkers=1)
            return values
        # One page describes all planes, which are contiguous in the file.
        offset, size = self._series.dataoffset, int(self.page.nbytes)
        if offset is None:
            raise UserError(f"{self.name} lacks planes that it declares; get a fresh copy of it.")
        handle = self._file.filehandle
        handle.seek(offset + flat * size)
        data = handle.read(size)
        if len(data) < size:
            raise UserError(f"{self.name} ends within a plane; get a fresh copy of it.")
        kind = np.dtype(self.page.dtype).newbyteorder(self._file.byteorder)
        return np.frombuffer(data, kind).reshape(self.page.shape).astype(self.page.dtype)

    def _refuse_large(self, numbers: int) -> None:
        width, height = self.size
        stored = numbers * np.dtype(self.page.dtype).itemsize
        needed = width * height * 12 + 2 * stored
        if needed > PICTURE.size:
            raise TooLarge(self.name, (width, height), needed, "TIFF")

    def _check_kind(self) -> None:
        page, name = self.page, self.page.photometric.name
        if page.dtype is None or page.dtype.kind not in "biuf":
            raise UserError(
                f"{self.name} holds {page.dtype or 'numbers of an unknown type'}; save it as "
                "whole or floating-point numbers."
            )
        if name not in _SAMPLES:
            raise UserError(
                f"{self.name} is {name}, which is no picture of grey or colour; save it as RGB or "
                "greyscale."
            )
        self._base = _SAMPLES[name]
        if int(page.samplesperpixel) < self._base:
            raise CannotDecodeError("too few samples")
        if name == "YCBCR" and page.compression.name != "JPEG":
            raise CannotDecodeError("YCbCr")

    def _samples_are_colour(self) -> bool:
        """Return whether the samples of a pixel are its colour and alpha, not channels."""
        extra = int(self.page.samplesperpixel) - self._base
        if extra == 0 or self._base > 1:
            return True
        return extra == 1 and self._alpha_kind() in (1, 2)

    def _alpha_kind(self) -> int:
        """Return 0 for extra samples of unknown use, 1 for premultiplied alpha, 2 for alpha."""
        kinds = tuple(int(kind) for kind in self.page.extrasamples)
        return kinds[0] if kinds else 0

    def _check_segments(self, page: Any) -> None:
        """Validate that compressed data decode to no more pixels than their tile or strip.

        Raises:
            CannotDecodeError: some do, or the compression is unknown.
        """
        name = page.compression.name
        if name in _BOUNDED:
            return
        if name not in _PICTURES:
            raise CannotDecodeError(f"compression {name}")
        handle = self._file.filehandle
        most = page.chunks[0] * page.chunks[1] if len(page.chunks) > 1 else page.chunks[0]
        most = max(most, int(page.tilewidth or 0) * int(page.tilelength or 0))
        rows = int(page.rowsperstrip or page.imagelength)
        most = max(most, min(rows, int(page.imagelength)) * int(page.imagewidth))
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            if size:
                handle.seek(offset)
                check_segment(handle.read(min(size, _HEAD)), most)

    def interpreted(self, values: NDArray[Any]) -> Decoded:
        """Undo the photometric interpretation of (h, w) or (h, w, samples) numbers."""
        page, kind = self.page, self.page.photometric.name
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        alpha = None
        extra = values.shape[2] - self._base if values.ndim == 3 else 0
        notes: list[str] = []
        if extra > 0:
            if self._alpha_kind() in (1, 2):
                alpha = values[:, :, self._base]
                limit = greatest(values.dtype, bits)
                alpha = np.clip(alpha.astype(np.float32) / np.float32(limit), 0, 1)
            else:
                notes.append("a fourth sample of unknown use was left out")
            values = values[:, :, : self._base]
            if self._base == 1:
                values = values[:, :, 0]
        if values.dtype == bool:
            values = values.astype(np.uint8) * np.uint8(255)
            bits = 8
        elif kind != "PALETTE" and bits < 8 and values.dtype == np.uint8:
            values = values * np.uint8(255 // (2**bits - 1))
            bits = 8
        if kind == "MINISWHITE":
            values = inverted(values, bits)
        elif kind == "PALETTE":
            values = coloured(values, page.colormap, self.name)
        elif kind == "SEPARATED":
            values = from_cmyk(values, greatest(values.dtype, bits))
        premultiplied = alpha is not None and self._alpha_kind() == 1
        return Decoded(values, alpha, premultiplied, tuple(notes))


def _pages_are_planes(series: Any, page: Any) -> bool:
    """Return whether the pages of a series hold its axes Y, X and, if any, S, and no other."""
    inner = len(series.axes) - len(page.axes)
    return (
        set("YX") <= set(page.axes) <= set("YXS")
        and series.axes.endswith(page.axes)
        and tuple(series.shape[inner:]) == tuple(page.shape)
    )


class _UnnamedStream:
    """Stream without a file name, so that tifffile cannot open another file by its name."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self.readinto = getattr(stream, "readinto")  # noqa: B009
        self.closed = False

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""


def open_tiff(stream: BinaryIO) -> Any:
    """Open a stream with tifffile, without its warnings and without following other files.

    Raises:
        CannotDecodeError: the file cannot be parsed.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    try:
        return tifffile.TiffFile(cast(Any, _UnnamedStream(stream)), name="", _multifile=False)
    except Exception as error:  # metadata may be malformed in any way
        raise CannotDecodeError(str(error)) from error


def check_segment(head: bytes, most: int) -> None:
    """Validate the size of a tile or strip that is itself an image file (JPEG, WebP, ...).

    Args:
        head: its first bytes.
        most: greatest number of pixels.

    Raises:
        CannotDecodeError: it is larger, or not such an image.
    """
    from PIL import Image

    try:
        width, height = Image.open(io.BytesIO(head), formats=_SEGMENT_FORMATS).size
    except Exception as error:
        raise CannotDecodeError("a tile that is no picture") from error
    if width * height > most:
        raise CannotDecodeError("a tile that is larger than it may be")


def _integer_tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    return value if isinstance(value, int) else None
