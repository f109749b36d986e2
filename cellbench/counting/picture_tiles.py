"""Tile pyramid of a picture, for a viewer that zooms."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellbench.data.large import Pixels, open_picture
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions
from cellbench.errors import UserError
from cellbench.files.writing import sha256_file

TILE_PX = 512
# Tiles of this level and above are cut from a copy of the picture, reduced 8 times along each side.
_COPIED_LEVEL = 3
_BAND_PX = 2048
MOST_LEVELS = 20


class PictureTiles:
    """Tiles of one picture: at level L a pixel is the mean of 2**L x 2**L pixels.

    Attributes:
        size: (width, height) of the picture, px.
    """

    def __init__(
        self, path: Path, *, sha256: str, reading: ReadOptions = DEFAULT_READ_OPTIONS
    ) -> None:
        """Open the picture of a counted folder.

        Args:
            path: path of its file.
            sha256: hash of the file when it was counted.
            reading: how it was read when it was counted.

        Raises:
            UserError: it cannot be read, or has changed.
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
        """Return a tile as PNG; tiles at the right and lower border are smaller.

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
        """Return the reduced copy of the picture, computed in bands when first needed."""
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
