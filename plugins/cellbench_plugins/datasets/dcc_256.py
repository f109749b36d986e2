"""DCC as a converted copy: every image resized to 256x256 px, in one HDF5 file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.errors import UserError
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import candidates, map_points
from cellbench_plugins.datasets._hdf5 import array_shape, read_array

_PICTURES, _MAPS = "imgs", "counts"
_MOST_IMAGES = 10_000


@DATASETS.register_module(name="dcc-256")
class Dcc256(DataSet):
    """176 of DCC's 177 images, resized to 256x256 px without keeping their aspect ratio.

    Results are never compared with those of `dcc`: cells have another size and shape, and it is
    unknown to which of DCC's parts an image belongs.

    Source: Marsden et al., People, Penguins and Petri Dishes, CVPR 2018, arXiv:1711.05586; the file
        is one that SAU-Net's authors made.
    Differs: cells are placed by fitting Gaussians to its density maps. The file has not been
        available to us: its layout is that described by its users.
    """

    name = "dcc-256"
    title = "DCC, 256 px"
    summary = "DCC resized to squares; never ranked with dcc"
    images = 176
    parts = (70, 30, 76)
    instructions = "its copy is DCC.hdf5, with the arrays imgs and counts, from SAU-Net's authors."

    def scan(self, folder: Path) -> list[RawItem]:
        """List the images of the only HDF5 file below a folder.

        Raises:
            UserError: there is not exactly one, or its arrays have another layout.
        """
        files = [
            path
            for place in candidates(folder)
            for path in sorted(place.iterdir())
            if path.suffix.lower() in (".h5", ".hdf5") and path.is_file()
        ]
        if len(files) != 1:
            found = f"{len(files)} HDF5 files" if files else "no HDF5 file"
            raise UserError(
                f"{folder} and the folders in it hold {found}; name the folder with DCC.hdf5, the "
                "raw copy."
            )
        pictures, maps = (array_shape(files[0], name) for name in (_PICTURES, _MAPS))
        if len(pictures) != 4 or pictures[3] != 3 or maps[:3] != pictures[:3]:
            raise UserError(
                f"{files[0]}: {_PICTURES} has the shape {pictures} and {_MAPS} {maps}; "
                "(N, H, W, 3) pictures and (N, H, W) densities are wanted."
            )
        if pictures[0] > _MOST_IMAGES:
            raise UserError(
                f"{files[0]} holds {pictures[0]} images; at most {_MOST_IMAGES} are read."
            )
        return [
            RawItem(f"{index:03d}", files[0], files[0], index=index) for index in range(pictures[0])
        ]

    def read_picture(self, item: RawItem) -> NDArray[np.uint8]:
        """Read one image.

        Raises:
            UserError: its pixels are not uint8.
        """
        pixels = read_array(item.image, _PICTURES, item.index)
        if pixels.dtype != np.uint8:
            raise UserError(
                f"{item.image}: {_PICTURES} holds {pixels.dtype}; pixels of 8 bits are wanted."
            )
        return pixels.astype(np.uint8, copy=False)

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read the cells from one density map.

        Raises:
            UserError: the map is not a sum of Gaussians of one cell each.
        """
        density = read_array(item.image, _MAPS, item.index)
        return map_points(density, size=size, name=f"{item.image}: map {item.index}")
