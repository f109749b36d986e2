"""Parts of a picture at several sizes, for a viewer that zooms."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.data.large import Pixels, open_picture
from cellbench.data.reader import AS_THEY_COME, ReadOptions
from cellbench.errors import UserError
from cellbench.files.writing import sha256_file

TILE_PX = 512
# Levels from this one on are cut from a copy of the picture that is 8 times as small.
_COPIED_LEVEL = 3
_BAND_PX = 2048
MOST_LEVELS = 20


class PictureTiles:
    """The tiles of one picture: at level L a px is the mean of 2**L x 2**L px.

    Attributes:
        size: (width, height) of the picture, px.
    """

    def __init__(self, path: Path, *, sha256: str, reading: ReadOptions = AS_THEY_COME) -> None:
        """Open the picture of a counted folder.

        Args:
            path: of its file.
            sha256: of the file when it was counted.
            reading: how it was read then.

        Raises:
            UserError: it cannot be read, or is another picture now.
        """
        try:
            same = sha256_file(path) == sha256
        except OSError as error:
            raise UserError(
                f"{path} cannot be opened ({(error.strerror or str(error)).lower()}); name the "
                "folder of the pictures with --pictures."
            ) from error
        if not same:
            raise UserError(f"{path} has changed since it was counted; count it again.")
        self._pixels = open_picture(path, reading).pixels
        self.size = (int(self._pixels.shape[1]), int(self._pixels.shape[0]))
        self._copy: NDArray[np.uint8] | None = None

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A tile as PNG; tiles at the right and lower border are smaller.

        Raises:
            UserError: there is no such tile.
        """
        across = TILE_PX << level
        left, top = column * across, row * across
        if not (0 <= level < MOST_LEVELS and 0 <= left < self.size[0] and 0 <= top < self.size[1]):
            raise UserError(f"There is no tile {level}/{column}/{row}.")
        source: Pixels = self._pixels
        scale = 1
        if level >= _COPIED_LEVEL:
            source, scale = self._small(), 1 << _COPIED_LEVEL
        part = source[
            top // scale : (top + across) // scale, left // scale : (left + across) // scale, :
        ]
        return _png(np.ascontiguousarray(part), (1 << level) // scale)

    def _small(self) -> NDArray[np.uint8]:
        """The picture 8 times as small, made band by band when it is first needed."""
        if self._copy is None:
            bands = [
                np.asarray(
                    Image.fromarray(
                        np.ascontiguousarray(
                            self._pixels[top : top + _BAND_PX, 0 : self.size[0], :]
                        )
                    ).reduce(1 << _COPIED_LEVEL)
                )
                for top in range(0, self.size[1], _BAND_PX)
            ]
            self._copy = np.concatenate(bands)
        return self._copy


def _png(pixels: NDArray[np.uint8], factor: int) -> bytes:
    picture = Image.fromarray(pixels)
    if factor > 1:
        picture = picture.reduce(factor)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
