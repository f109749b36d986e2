"""TIFF and OME-TIFF files: axes, planes, what their numbers mean, and the size of a pixel."""

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
from cellbench.data.tiff_series import channel_names, main_series
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE

# Samples of a pixel by photometric interpretation; others are none that can be counted.
_SAMPLES = {
    "MINISWHITE": 1, "MINISBLACK": 1, "RGB": 3, "PALETTE": 1, "SEPARATED": 4, "YCBCR": 3,
}  # fmt: skip
# Compressions whose decoder is given the number of bytes to make, and no more.
_BOUNDED = {
    "NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD", "PIXARLOG",
    "ZSTD_DEPRECATED",
}  # fmt: skip
# Those that are pictures themselves, whose size is in their own header.
_PICTURES = {
    "JPEG", "JPEG2000", "APERIO_JP2000_RGB", "APERIO_JP2000_YCBC", "WEBP", "PNG",
    "WEBP_DEPRECATED", "JPEG_2000_LOSSY",
}  # fmt: skip
_SEGMENT_FORMATS = ("JPEG", "JPEG2000", "WEBP", "PNG")
_MOST_PAGES = 100_000
_HEAD = 1 << 16


class TiffRaster(Raster):
    """The picture of a TIFF file: the largest series that is no thumbnail, label or pyramid level.

    Attributes:
        page: the first of its planes.
    """

    def __init__(self, stream: BinaryIO, *, name: str, series: int | None = None) -> None:
        """Read the tables of a file; no pixel is decoded.

        Args:
            stream: at the start of the file.
            name: of the file, for messages.
            series: which of several pictures, from 0, where the user named one.

        Raises:
            UserError: there are several pictures and none was named.
            CannotDecodeError: see there.
        """
        self.name = name
        self._file = open_tiff(stream)
        for number, _ in enumerate(self._file.pages):
            if number > _MOST_PAGES:
                raise UserError(f"{name} has more than {_MOST_PAGES} pages; cut it into pieces.")
        self.notes: list[str] = []
        self._series, self.pictures = main_series(self._file, name, series, self.notes)
        self.page: Any = self._series.keyframe
        self._check_kind()
        axes, shape = self._series.axes, self._series.shape
        own = self.page.axes
        self._by_plane = (
            axes.endswith(own)
            and tuple(shape[len(axes) - len(own) :]) == tuple(self.page.shape)
            and set("YX") <= set(own)
        )
        if not set("YX") <= set(axes):
            raise CannotDecodeError(f"axes {axes}")
        within = set("YXS") if self._samples_are_colour() else set("YX")
        if self._by_plane:
            within |= set(own) - {"S"}
            if set(own) - set("YXS"):
                self._by_plane = False
                within = set("YXS") if self._samples_are_colour() else set("YX")
        self._order, self._own = axes, own
        lengths = dict(zip(axes, shape, strict=True))
        self.axes = {
            ("C" if letter == "S" else letter): length
            for letter, length in lengths.items()
            if letter not in within
        }
        self.size = (int(lengths["X"]), int(lengths["Y"]))
        self.colour = self._samples_are_colour() and self._base in (3, 4)
        self.colour |= self.page.photometric.name == "PALETTE"
        self.channel_names = channel_names(self._file, self._series)
        self.pixel_size_um = tiff_pixel_size(self._file, self._series)
        self.orientation = int(_tag(self.page, 274) or 1)

    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode one plane.

        Args:
            index: by letter of `axes`.

        Raises:
            UserError: it is not in the file, or it would take too much memory.
            CannotDecodeError: see there.
        """
        samples = "S" in self._order and self._samples_are_colour()
        if self._by_plane:
            values = self._decode_page(self._flat(index))
            order = self.page.axes
        else:
            self._refuse_large(int(np.prod(self._series.shape, dtype=np.int64)))
            values = self._series.asarray(maxworkers=1)
            order = self._order
        for axis in range(len(order) - 1, -1, -1):
            letter = order[axis]
            if letter in "YX" or (letter == "S" and samples):
                continue
            if letter not in self.axes and values.shape[axis] != 1 and letter != "S":
                continue
            key = "C" if letter == "S" else letter
            values = np.take(values, index.get(key, 0), axis=axis)
            order = order[:axis] + order[axis + 1 :]
        wanted = "YXS" if "S" in order else "YX"
        values = np.transpose(values, [order.index(letter) for letter in wanted])
        return self.interpreted(np.ascontiguousarray(values))

    def page_of(self, index: Mapping[str, int]) -> Any:
        """The tifffile page of a plane, whose parts can be decoded one by one.

        Raises:
            CannotDecodeError: a plane is no page.
        """
        flat = self._flat(index)
        if not self._by_plane or (flat and len(self._series.pages) == 1):
            raise CannotDecodeError("its planes are no pages")
        page = self._series[flat]
        if page is None:
            raise CannotDecodeError("its planes are in other files")
        return page.aspage()

    @staticmethod
    def is_bounded(page: Any) -> bool:
        """Whether the parts of a page unpack to no more than their declared size."""
        return page.compression.name in _BOUNDED

    def close(self) -> None:
        """Forget the tables."""
        self._file.close()

    def _flat(self, index: Mapping[str, int]) -> int:
        """The number of a plane in the file."""
        kept = [letter for letter in self._order if letter in self.axes and letter not in self._own]
        lengths = [self.axes[letter] for letter in kept]
        place = [index.get(letter, 0) for letter in kept]
        return int(np.ravel_multi_index(place, lengths)) if kept else 0

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
        # One table for all planes, which follow one another.
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
        """Whether the samples of a pixel are its colour and alpha, not channels of their own."""
        extra = int(self.page.samplesperpixel) - self._base
        if extra == 0 or self._base > 1:
            return True
        return extra == 1 and self._alpha_kind() in (1, 2)

    def _alpha_kind(self) -> int:
        """0 for samples of unknown use, 1 for alpha that colours are multiplied by, 2 for alpha."""
        kinds = tuple(int(kind) for kind in self.page.extrasamples)
        return kinds[0] if kinds else 0

    def _check_segments(self, page: Any) -> None:
        """Refuse compressed parts that unpack to more than their tile or strip."""
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


class _Nameless:
    """An open file without a name: what was opened is read, no file of the same name beside it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self.readinto = getattr(stream, "readinto")  # noqa: B009
        self.closed = False

    def close(self) -> None:
        """The stream is the caller's."""


def open_tiff(stream: BinaryIO) -> Any:
    """Open a file with tifffile, which then neither warns nor opens the files that it names.

    Raises:
        CannotDecodeError: it cannot be parsed.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    try:
        return tifffile.TiffFile(cast(Any, _Nameless(stream)), name="", _multifile=False)
    except Exception as error:  # hostile tables
        raise CannotDecodeError(str(error)) from error


def check_segment(head: bytes, most: int) -> None:
    """Refuse a tile or strip that is a picture of its own and larger than it may be.

    Args:
        head: its first bytes.
        most: pixels.

    Raises:
        CannotDecodeError: it is larger, or no such picture.
    """
    from PIL import Image

    try:
        width, height = Image.open(io.BytesIO(head), formats=_SEGMENT_FORMATS).size
    except Exception as error:
        raise CannotDecodeError("a tile that is no picture") from error
    if width * height > most:
        raise CannotDecodeError("a tile that is larger than it may be")


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    return value if isinstance(value, int) else None
