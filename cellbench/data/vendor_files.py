"""Files of microscopes and scanners that are not read."""

from pathlib import Path

_FORMATS = {
    ".czi": "Zeiss CZI", ".nd2": "Nikon ND2", ".lif": "Leica LIF", ".mrxs": "3DHISTECH MRXS",
    ".vms": "Hamamatsu VMS", ".ndpi": "Hamamatsu NDPI", ".oib": "Olympus OIB",
    ".oif": "Olympus OIF", ".oir": "Olympus OIR", ".vsi": "Olympus VSI", ".dv": "DeltaVision",
    ".ims": "Imaris", ".lei": "Leica LEI", ".xlif": "Leica XLIF", ".zvi": "Zeiss ZVI",
    ".h5": "HDF5", ".hdf5": "HDF5", ".zarr": "Zarr", ".dcm": "DICOM", ".heic": "HEIC",
    ".avif": "AVIF", ".raw": "a camera's raw", ".nef": "a camera's raw", ".cr2": "a camera's raw",
    ".arw": "a camera's raw", ".dng": "a camera's raw", ".psd": "Photoshop", ".pdf": "PDF",
    ".eps": "PostScript", ".svg": "SVG", ".npy": "NumPy",
}  # fmt: skip


def how_to_read(path: Path) -> str:
    """What makes a file of a microscope readable; empty for a file that is called otherwise."""
    title = _FORMATS.get(path.suffix.lower())
    return f"it is {title}, which is not read; save it as OME-TIFF or PNG" if title else ""
