"""Stored form of an image in a set: the bytes of its file, or its converted pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import decode_image
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions, read_whole
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """Image in the form that a set stores.

    Attributes:
        picture: bytes of its file if they decode to what methods see, else (H, W, 3) uint8.
        suffix: of its file in the set, lower case with the dot.
        size: (width, height), px.
        notes: decisions made in reading, one sentence each.
    """

    picture: bytes | NDArray[np.uint8]
    suffix: str
    size: tuple[int, int]
    notes: tuple[str, ...]


def keep_picture(path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS) -> KeptPicture:
    """Read an image as `count` reads it, and keep its file if that decodes to the same pixels.

    Images of 8 bits that use their range are kept as they are, those of the published sets among
    them; images of more bits, rotated, transparent or one plane of several become a PNG.

    Raises:
        UserError: the image cannot be read; see `read_whole`.
    """
    read = read_whole(path, options)
    try:
        data = read_file(path, most=FILE.size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); see its rights.") from error
    size = (read.pixels.shape[1], read.pixels.shape[0])
    notes = tuple(f"{note[0].upper()}{note[1:]}." for note in read.notes)
    try:
        same = np.array_equal(decode_image(data, name=str(path)), read.pixels)
    except UserError:  # a format that `read_whole` reads and sets do not
        same = False
    if same:
        return KeptPicture(data, path.suffix.lower() or ".img", size, notes)
    return KeptPicture(read.pixels, ".png", size, notes)
