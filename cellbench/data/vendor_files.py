"""Read microscope vendor files (Zeiss CZI, Nikon ND2, Leica LIF) through bioio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.data.decoded import Decoded, Raster
from cellbench.data.images import TooLarge
from cellbench.errors import UserError
from cellbench.files.limits import PICTURE

# First bytes -> title, and the extra that installs its reader.
_READ = {
    b"ZISRAWFI": ("Zeiss CZI", "czi"),
    b"\xda\xce\xbe\x0a": ("Nikon ND2", "nd2"),
    b"\x70\x00\x00\x00": ("Leica LIF", "lif"),
}
_SUFFIXES = {".czi": b"ZISRAWFI", ".nd2": b"\xda\xce\xbe\x0a", ".lif": b"\x70\x00\x00\x00"}
_FORMATS = {
    ".oib": "Olympus OIB", ".oif": "Olympus OIF", ".oir": "Olympus OIR", ".vsi": "Olympus VSI",
    ".dv": "DeltaVision", ".ims": "Imaris", ".lei": "Leica LEI", ".xlif": "Leica XLIF",
    ".zvi": "Zeiss ZVI", ".h5": "HDF5", ".hdf5": "HDF5", ".zarr": "Zarr", ".dcm": "DICOM",
    ".heic": "HEIC", ".avif": "AVIF", ".raw": "a camera's raw", ".nef": "a camera's raw",
    ".cr2": "a camera's raw", ".arw": "a camera's raw", ".dng": "a camera's raw",
    ".psd": "Photoshop", ".pdf": "PDF", ".eps": "PostScript", ".svg": "SVG", ".npy": "NumPy",
}  # fmt: skip


def how_to_read(path: Path) -> str:
    """Return how to convert a file of a known unsupported format; empty for other suffixes."""
    title = _FORMATS.get(path.suffix.lower())
    return f"it is {title}, which is not read; save it as OME-TIFF or PNG" if title else ""


def is_vendor_file(path: Path, head: bytes) -> bool:
    """Return whether a file has the suffix and the first bytes of a format that bioio reads."""
    magic = _SUFFIXES.get(path.suffix.lower())
    return magic is not None and head.startswith(magic)


def is_named_as_vendor_file(path: Path) -> bool:
    """Return whether a file has the suffix of a format that bioio reads."""
    return path.suffix.lower() in _SUFFIXES


class VendorRaster(Raster):
    """Image of a CZI, ND2 or LIF file; its scenes are pages."""

    def __init__(self, path: Path) -> None:
        """Read the metadata of a file.

        Raises:
            UserError: the packages that read it are not installed, or the file is damaged.
        """
        title, extra = _READ[_SUFFIXES[path.suffix.lower()]]
        try:
            from bioio import BioImage

            __import__(f"bioio_{extra}")
        except ImportError:
            raise UserError(
                f"{path} is {title}; pip install 'cellbench[{extra}]' reads it, or save it as "
                "OME-TIFF."
            ) from None
        self.name = str(path)
        try:
            self._image: Any = BioImage(path)
            self._image.dims  # noqa: B018 - reads the metadata, so that errors are raised here
        except Exception as error:  # readers raise nearly anything on damaged files
            raise UserError(
                f"{path} is damaged, or a {title} that bioio cannot read; get a fresh copy of it, "
                "or save it as OME-TIFF."
            ) from error
        scenes = len(self._image.scenes)
        dims = self._image.dims
        lengths = dict(zip(dims.order, dims.shape, strict=True))
        self.size = (int(lengths["X"]), int(lengths["Y"]))
        self.colour = lengths.get("S", 1) in (3, 4)
        self.axes = {letter: int(lengths.get(letter, 1)) for letter in "CZT"}
        self.axes |= {"I": scenes} if scenes > 1 else {}
        self.channel_names = [str(name)[:40] for name in self._image.channel_names or []]
        edges = self._image.physical_pixel_sizes
        known = edges.X is not None and edges.Y is not None
        self.pixel_size_um = (float(edges.X or 0), float(edges.Y or 0)) if known else None
        self.notes = []

    def plane(self, index: Mapping[str, int]) -> Decoded:
        """Decode one plane.

        Raises:
            UserError: it would take too much memory.
        """
        if "I" in index:
            self._image.set_scene(self._image.scenes[index["I"]])
        dims = self._image.dims
        samples = 3 if self.colour else 1
        needed = int(dims.Y) * int(dims.X) * samples * 20
        if needed > PICTURE.size:
            raise TooLarge(self.name, self.size, needed, "vendor")
        wanted = {letter: index.get(letter, 0) for letter in "TCZ"}
        order = "YXS" if self.colour else "YX"
        values = np.asarray(self._image.get_image_dask_data(order, **wanted).compute())
        return Decoded(values[:, :, :3] if self.colour else values)

    def close(self) -> None:
        """Do nothing: bioio closes the file with its reader."""
