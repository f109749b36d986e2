"""Reading of image files, without silent clipping, rotation or guesses."""

import errno
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.errors import UserError
from cellbench.files.limits import FILE, PICTURE
from cellbench.files.reading import megabytes, open_file

# Without formats that run a helper program (EPS) or hold layers whose merging is undefined.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")

# fmt: off
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm",
    ".pnm", ".jp2", ".j2k", ".jpe", ".jfif", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".qptiff",
})
# fmt: on
"""Suffixes of files in these formats, in lower case."""


def is_named_as_picture(path: Path) -> bool:
    """Return whether a file has one of `SUFFIXES` and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


# Pillow's limit counts pixels and mostly just warns; `_check_size` counts the memory needed.
Image.MAX_IMAGE_PIXELS = None

# Bytes per pixel in Pillow's memory, by mode; every other mode takes 4.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
# Bytes per pixel in use: as RGB, prepared, and drawn with its cells.
_USED = 12
# Bytes per pixel that decoders keep of a whole image, beside its pixels.
_WHOLE_BUFFERS = {"WEBP": 12, "JPEG2000": 16, "GIF": 4, "TIFF": 4}
# Bytes per pixel for coefficients of up to four components, kept if a JPEG has several scans.
_COEFFICIENTS = 8
_MOST_SCANS = 100
_MOST_SCANNED_PIXELS = 1_200_000_000
# Netpbm in decimal digits is parsed number by number.
_MOST_PLAIN_NUMBERS = 3_000_000
_BAND_PIXELS = 1 << 20
_CHUNK = 1 << 20


class TooLarge(UserError):
    """Error for an image that would take more memory than allowed.

    Attributes:
        format: of its file, as Pillow calls it.
    """

    def __init__(self, name: str, size: tuple[int, int], needed: int, format_: str) -> None:
        """Compose the message.

        Args:
            name: of the file.
            size: (width, height), px.
            needed: bytes.
            format_: see `format`.
        """
        super().__init__(
            f"{name} has {size[0]}x{size[1]} px and would take {megabytes(needed)} of memory, more "
            f"than the {megabytes(PICTURE.size)} of one picture; cut it into tiles, or "
            f"{PICTURE.mend}."
        )
        self.format = format_


def read_image(path: str | Path, *, background: int = 255) -> NDArray[np.uint8]:
    """Read an image as RGB.

    Conversions:
        - Grey of more than 8 bits (and floating point) is scaled linearly from its own least and
          greatest value to 0..255, since 12-bit cameras write 16-bit files and scaling by the
          type would leave them 16 levels; a flat image is black. Colour of 16 bits per channel
          keeps its upper byte.
        - Transparency is composited on `background`. Palettes, 1-bit and CMYK become the colours
          that a viewer shows.
        - The EXIF orientation is ignored: points are in pixels as they are stored, and a rotation
          would separate them from the cells.
        - Of a file with several pages or frames the first is read.

    Args:
        path: a file in one of `FORMATS`, whatever its name.
        background: grey level behind transparent pixels, 0..255.

    Returns:
        (H, W, 3) uint8, RGB, contiguous and writable.

    Raises:
        UserError: the file does not exist, is empty, damaged, truncated or not an image, or would
            take more than `limits.PICTURE`.
    """
    path = Path(path)
    with opened_picture(path) as stream:
        return decode_image(stream, name=str(path), background=background)


def decode_image(data: bytes | BinaryIO, *, name: str, background: int = 255) -> NDArray[np.uint8]:
    """Decode an image in memory or in an open file; see `read_image`.

    Args:
        data: all bytes of an image file, or a stream at their start.
        name: of the image, for messages.
        background: grey level behind transparent pixels, 0..255.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    with explained_decoding(name):
        image = open_header(stream, name)
        if image.format == "PNG":
            check_png_sums(stream)
        image.load()
        return _as_rgb(image, background)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) in px, read from the header without decoding.

    Raises:
        UserError: as `read_image`, except for damage behind the header.
    """
    path = Path(path)
    with opened_picture(path) as stream:
        return stored_size(stream, name=str(path))


def stored_size(data: bytes | BinaryIO, *, name: str) -> tuple[int, int]:
    """Return (width, height) in px of an image in memory or an open file; see `image_size`."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    with explained_decoding(name):
        size: tuple[int, int] = open_header(stream, name).size
        return size


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 pixels as PNG; lossless, tuned for speed rather than for size."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


def no_file(path: Path) -> UserError:
    """Return the error for a path that is not a regular file."""
    kind = "is not a file" if path.exists() else "does not exist"
    return UserError(f"{path} {kind}; name a picture ({', '.join(FORMATS)}).")


@contextmanager
def opened_picture(path: Path) -> Iterator[BinaryIO]:
    """Open an image file in a context that closes it.

    Raises:
        UserError: it is not a regular file, is empty or larger than `limits.FILE`, or cannot be
            opened.
    """
    if not path.is_file():  # also keeps us from waiting for ever on a pipe
        raise no_file(path)
    try:
        stream = open_file(path, most=FILE.size)
    except OSError as error:
        mend = FILE.mend if error.errno == errno.EFBIG else "see its rights"
        raise UserError(f"{path} cannot be opened ({error.strerror}); {mend}.") from error
    with stream:
        if not stream.peek(1):
            raise UserError(f"{path} is empty (0 bytes); get a fresh copy of it.")
        yield stream


def open_header(stream: BinaryIO, name: str) -> Image.Image:
    """Open an image with Pillow, and reject one that is too large by its header.

    Raises:
        UserError: it is empty, or would take more than `limits.PICTURE`.
    """
    magic = stream.read(2)
    if not magic:
        raise UserError(f"{name} is empty (0 bytes); get a fresh copy of it.")
    stream.seek(0)
    image = Image.open(stream, formats=FORMATS)
    _check_size(image, name, plain=magic in (b"P1", b"P2", b"P3"), scans=_scans(image, stream))
    return image


def _check_size(image: Image.Image, name: str, *, plain: bool, scans: int) -> None:
    width, height = image.size
    pixels = width * height
    if pixels < 1:
        raise UserError(f"{name} has no pixels ({width}x{height}); get a fresh copy of it.")
    buffers = _COEFFICIENTS if scans > 1 else _WHOLE_BUFFERS.get(image.format or "", 0)
    needed = pixels * max(_USED, _STORED.get(image.mode, 4) + 3 + buffers)
    if needed > PICTURE.size:
        raise TooLarge(name, image.size, needed, image.format or "")
    if scans > _MOST_SCANS or scans * pixels > _MOST_SCANNED_PIXELS:
        raise UserError(
            f"{name} is a JPEG of {width}x{height} px in {scans} scans, which would take minutes "
            "to decode; save it anew."
        )
    if plain and pixels * len(image.getbands()) > _MOST_PLAIN_NUMBERS:
        raise UserError(
            f"{name} has {width}x{height} px written as decimal digits, which would take minutes "
            "to read; save it as PNG."
        )


def _scans(image: Image.Image, stream: BinaryIO) -> int:
    """Return the number of scans of a JPEG; 1 for another format."""
    if image.format != "JPEG":
        return 1
    place = stream.tell()
    stream.seek(0)
    found, last = 0, b""
    while chunk := stream.read(_CHUNK):
        found += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:]
    stream.seek(place)
    return found


def check_png_sums(stream: BinaryIO) -> None:
    """Validate the checksum of every chunk of a PNG; Pillow validates only some.

    Raises:
        ValueError: a checksum is wrong, or a chunk is cut off.
    """
    place = stream.tell()
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        found, remaining = zlib.crc32(kind), length
        while remaining and (piece := stream.read(min(remaining, _CHUNK))):
            found, remaining = zlib.crc32(piece, found), remaining - len(piece)
        stored = stream.read(4)
        if remaining or len(stored) < 4:
            raise ValueError("it ends within a chunk")
        if stored != struct.pack(">I", found):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')!r} is wrong")
        if kind == b"IEND":
            break
    stream.seek(place)


def png_chunks(stream: BinaryIO) -> set[bytes]:
    """Return the kinds of chunks of a PNG, up to where it ends; keeps the stream's position."""
    place, found = stream.tell(), set()
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        found.add(kind)
        if kind == b"IEND":
            break
        stream.seek(length + 4, 1)
    stream.seek(place)
    return found


@contextmanager
def explained_decoding(name: str) -> Iterator[None]:
    """Convert any error of a decoder on damaged bytes into a `UserError` of one sentence."""
    try:
        yield
    except UserError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"{name} is damaged or no picture that can be read; allowed are {', '.join(FORMATS)}."
        ) from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"{name} is damaged or truncated ({reason}); get a fresh copy of it."
        ) from error


def _as_rgb(image: Image.Image, background: int) -> NDArray[np.uint8]:
    """Convert a decoded image to (H, W, 3), in bands of rows to save a second copy of it."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    out = np.empty((height, width, 3), np.uint8)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        limits = _range(image, bands)
        for top, bottom in bands:
            grey = stretch(np.asarray(image.crop((0, top, width, bottom))), limits)
            out[top:bottom] = grey[:, :, None]
        return out
    transparent = image.has_transparency_data
    for top, bottom in bands:
        band = image.crop((0, top, width, bottom))
        if transparent:
            front = band.convert("RGBA")
            band = Image.new("RGBA", front.size, (background, background, background, 255))
            band.alpha_composite(front)
        out[top:bottom] = np.asarray(band.convert("RGB"))
    return out


def _range(image: Image.Image, bands: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return the least and the greatest finite value; (0, 0) if there is none."""
    low, high = np.inf, -np.inf
    for top, bottom in bands:
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def stretch(grey: NDArray[np.generic], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Scale values of any type and shape from `limits` to 0..255; NaN becomes 0."""
    low, high = limits
    if high == low:
        return np.zeros(grey.shape, np.uint8)
    values = np.nan_to_num(grey.astype(np.float64), nan=low, posinf=high, neginf=low)
    # Halved first, so that a range as wide as the type's does not overflow.
    unit = (values / 2 - low / 2) / (high / 2 - low / 2)
    return np.rint(unit * 255).astype(np.uint8)
