"""Reader of PNG, JPEG and other Pillow formats that keeps 16-bit colour, which Pillow truncates."""

import struct
from collections.abc import Mapping
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from cellbench.data.decoded import Decoded, Raster
from cellbench.data.images import TooLarge, check_png_sums, open_header, png_chunks
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE

_ORIENTATION = 0x0112
_MOST_FRAMES = 2000
_MOST_FRAME_PIXELS = 1_200_000_000
# PNG chunks that may hold EXIF; Pillow would decode the pixels to find those that follow them.
_TURNING_CHUNKS = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
# PNG colour types of RGB, grey with alpha, and RGB with alpha.
_PNG_COLOURS = (2, 4, 6)


class PlainRaster(Raster):
    """Image that Pillow reads; the frames of an animation are its pages."""

    def __init__(self, stream: BinaryIO, *, name: str) -> None:
        """Read the header without decoding pixels.

        Args:
            stream: open file, at its start.
            name: name of the file, for messages.

        Raises:
            UserError: the image would take too much memory.
        """
        self.name = name
        self._stream = stream
        self._image = open_header(stream, name)
        self.size = self._image.size
        self.notes = []
        image = self._image
        self.colour = image.mode not in ("1", "L", "LA", "La", "F") and image.mode[0] != "I"
        frames = 1
        # The second image of a camera's MPO file is a preview or a depth map.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            frames = sum(1 for _ in islice(ImageSequence.Iterator(image), _MOST_FRAMES + 1))
            if frames > _MOST_FRAMES or frames * self.size[0] * self.size[1] > _MOST_FRAME_PIXELS:
                raise UserError(f"{name} has {frames} frames or more; save those that are counted.")
            image.seek(0)
        self.axes = {"I": frames} if frames > 1 else {}
        unturned = image.format == "PNG" and not (png_chunks(stream) & _TURNING_CHUNKS)
        self.orientation = 1 if unturned else _orientation(image)

    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode a frame."""
        image = self._image
        if image.format == "PNG":
            check_png_sums(self._stream)
        deep = None if self.axes else _deep_colour(self._stream, image)
        if deep is not None:
            needed = self.size[0] * self.size[1] * 32
            if needed > PICTURE.size:
                raise TooLarge(self.name, self.size, needed, image.format or "")
            return _split(_decode_deep(self._stream, deep))
        if self.axes:
            image.seek(index.get("I", 0))
        image.load()
        return _pillow_samples(image)

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF may be malformed in any way; the image is still read
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _pillow_samples(image: Image.Image) -> Decoded:
    """Return the samples of a loaded image, as stored where Pillow keeps their type."""
    mode, transparent = image.mode, image.info.get("transparency")
    if mode == "1":
        return Decoded(np.asarray(image).astype(np.uint8) * np.uint8(255))
    if mode[0] in "IF":
        values = np.asarray(image)
        if isinstance(transparent, int):
            return Decoded(values, (values != transparent).astype(np.float32))
        return Decoded(values)
    if mode == "L" and not image.has_transparency_data:
        return Decoded(np.asarray(image))
    if image.has_transparency_data:
        if mode in ("L", "LA"):
            return _split(np.asarray(image.convert("LA")))
        return _split(np.asarray(image.convert("RGBA")))
    return Decoded(np.asarray(image if mode == "RGB" else image.convert("RGB")))


def _split(values: NDArray[Any]) -> Decoded:
    """Separate alpha, the last of two or four samples, from grey or colour."""
    if values.ndim == 2 or values.shape[2] == 3:
        return Decoded(values)
    alpha = values[:, :, -1].astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    colours = values[:, :, :-1] if values.shape[2] == 4 else values[:, :, 0]
    return Decoded(colours, alpha)


def _deep_colour(stream: BinaryIO, image: Image.Image) -> str | None:
    """Return the format of a colour image of over 8 bits, which Pillow truncates; else None."""
    place = stream.tell()
    stream.seek(0)
    head = stream.read(4096)
    stream.seek(place)
    if image.format == "PNG" and len(head) > 25:
        return "PNG" if head[24] == 16 and head[25] in _PNG_COLOURS else None
    if image.format == "PPM" and head[:2] == b"P6":
        numbers = _netpbm_header(head)
        return "PPM" if numbers is not None and numbers[2] > 255 else None
    if image.format == "JPEG2000" and (at := head.find(b"\xff\x4f\xff\x51")) >= 0:
        samples, depth = struct.unpack_from(">HB", head[at : at + 60].ljust(60, b"\0"), 40)
        return "JPEG2000" if samples > 1 and (depth & 0x7F) + 1 > 8 else None
    return None


def _decode_deep(stream: BinaryIO, format_: str) -> NDArray[Any]:
    stream.seek(0)
    data = stream.read()
    if format_ == "PPM":
        width, height, _, start = _netpbm_header(data[:4096]) or (0, 0, 0, 0)
        values = np.frombuffer(data, ">u2", count=width * height * 3, offset=start)
        return values.reshape(height, width, 3).astype(np.uint16)
    import imagecodecs

    decode = imagecodecs.png_decode if format_ == "PNG" else imagecodecs.jpeg2k_decode
    return np.asarray(decode(data))


def _netpbm_header(head: bytes) -> tuple[int, int, int, int] | None:
    """Parse width, height, greatest value and pixel offset of a PPM; None if malformed or cut."""
    numbers: list[int] = []
    at = 2
    while len(numbers) < 3 and at < len(head):
        if head[at : at + 1] == b"#":
            end = head.find(b"\n", at)
            at = len(head) if end < 0 else end
        elif head[at : at + 1].isspace():
            at += 1
        else:
            end = at
            while end < len(head) and head[end : end + 1].isdigit():
                end += 1
            if end == at or end - at > 9:
                return None
            numbers.append(int(head[at:end]))
            at = end
    return (*numbers, at + 1) if len(numbers) == 3 else None  # type: ignore[return-value]
