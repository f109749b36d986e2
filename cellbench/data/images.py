"""Pictures, read so that no sample is clipped, turned or guessed silently."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.errors import UserError

MAX_PIXELS = 80_000_000
"""A larger picture is refused before it is decoded: at 3 bytes a pixel it would take 240 MB."""

# No format that runs a helper program (EPS) or holds layers whose merging is anyone's guess.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")

# fmt: off
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm",
    ".pnm", ".jp2",
})
# fmt: on
"""What files of these formats are called, in lower case."""


def is_named_as_picture(path: Path) -> bool:
    """Whether a file is called what pictures are called; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


# Pillow warns at 89 million pixels; what it warns of is refused below, with a sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: str | Path, *, background: int = 255) -> NDArray[np.uint8]:
    """Read a picture as RGB.

    What is decided:
        - Grey of more than 8 bits (and floating point) is scaled linearly from its own least and
          greatest value to 0..255, since 12-bit cameras write 16-bit files and a scaling by the
          type would leave them 16 levels; a flat picture is black. Colour of 16 bits a channel
          keeps its upper byte.
        - Transparency is laid on `background`. Palettes, 1-bit and CMYK become the colours that a
          viewer shows.
        - The EXIF orientation is ignored: points are in pixels as they are stored, and a turn
          would part them from the cells.
        - Of a file with several pages or frames the first is read.

    Args:
        path: a file in one of `FORMATS`, whatever its name.
        background: grey level behind transparent pixels, 0..255.

    Returns:
        (H, W, 3) uint8, RGB, contiguous and writable.

    Raises:
        UserError: no such file; it is empty, damaged, truncated, no picture or larger than
            `MAX_PIXELS`.
    """
    path = Path(path)
    with _opened(path) as stream:
        return decode_image(stream, name=str(path), background=background)


def decode_image(data: bytes | BinaryIO, *, name: str, background: int = 255) -> NDArray[np.uint8]:
    """Decode a picture that is in memory or in an open file; see `read_image`.

    Args:
        data: all bytes of a picture file, or a stream at their start.
        name: what messages call it.
        background: grey level behind transparent pixels, 0..255.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    with _explained(name):
        image = _header(stream, name)
        image.load()
        return _as_rgb(image, background)


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) in px, read from the header without decoding.

    Raises:
        UserError: as `read_image`, except for damage behind the header.
    """
    path = Path(path)
    with _opened(path) as stream:
        return stored_size(stream, name=str(path))


def stored_size(data: bytes | BinaryIO, *, name: str) -> tuple[int, int]:
    """(width, height) in px of a picture in memory or in an open file; see `image_size`."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    with _explained(name):
        size: tuple[int, int] = _header(stream, name).size
        return size


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W, 3) uint8 pixels; lossless, tuned for speed rather than for size."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not path.is_file():  # also keeps us from waiting for ever on a pipe
        kind = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {kind}; name a picture ({', '.join(FORMATS)}).")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}); see its rights.") from error
    with stream:
        yield stream


def _header(stream: BinaryIO, name: str) -> Image.Image:
    if not stream.read(1):
        raise UserError(f"{name} is empty (0 bytes); get a fresh copy of it.")
    stream.seek(0)
    try:
        image = Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _enormous(name) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _enormous(name, f"{width}x{height} px, which is ")
    return image


def _enormous(name: str, size: str = "") -> UserError:
    return UserError(
        f"{name} has {size}more than the {MAX_PIXELS // 1_000_000} million pixels that are read "
        "at once; cut it into tiles."
    )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one sentence."""
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
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _stretched(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        front = image.convert("RGBA")
        image = Image.new("RGBA", front.size, (background, background, background, 255))
        image.alpha_composite(front)
    return np.array(image.convert("RGB"))


def _stretched(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale (H, W) numbers of any type from their own range to 0..255; NaN is black."""
    values = grey.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    if high == low:
        return np.zeros(values.shape, np.uint8)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    # Halved first, so that a range as wide as the type's does not overflow.
    unit = (values / 2 - low / 2) / (high / 2 - low / 2)
    return np.rint(unit * 255).astype(np.uint8)
