"""What a set keeps of a picture: the bytes of its file, or the pixels that were made of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.images import decode_image
from cellbench.data.reader import AS_THEY_COME, ReadOptions, read_whole
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture on its way into a set.

    Attributes:
        picture: bytes of its file where it is what methods see as it is, else (H, W, 3) uint8.
        suffix: of its file in the set, lower case with the dot.
        size: (width, height), px.
        notes: what was decided when it was read, one sentence each.
    """

    picture: bytes | NDArray[np.uint8]
    suffix: str
    size: tuple[int, int]
    notes: tuple[str, ...]


def keep_picture(path: Path, options: ReadOptions = AS_THEY_COME) -> KeptPicture:
    """Read a picture as `count` reads it, and keep its file where that changes nothing.

    Pictures of 8 bits that use their range are kept as they are, those of the published sets
    among them; what is of more bits, turned, transparent or one plane of several becomes a PNG.

    Raises:
        UserError: it cannot be read; see `read_whole`.
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
    except UserError:  # of a format that this reader has and sets do not
        same = False
    if same:
        return KeptPicture(data, path.suffix.lower() or ".img", size, notes)
    return KeptPicture(read.pixels, ".png", size, notes)
