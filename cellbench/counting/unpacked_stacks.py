"""Unpacking of stacks and time series into one picture per plane, for `count --page all`.

Planes are written losslessly as TIFF files to `planes/` beside the tables, so that drawing, the
viewer, corrections and imports treat them like any other picture.
"""

import io
import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import Raster
from cellbench.data.pixel_sizes import plausible
from cellbench.data.planes import PlaneChoice, check_number_of_planes, single_planes
from cellbench.data.reader import opened_raster, plane_numbers
from cellbench.data.slides import needs_openslide
from cellbench.data.tiff_files import open_tiff
from cellbench.engine.work_progress import Advance
from cellbench.files.limits import FILE
from cellbench.files.reading import open_file
from cellbench.files.writing import sha256, write_atomically

PLANES = "planes"
_UM_PER_CM = 1e4


@dataclass(frozen=True, slots=True)
class UnpackedPlane:
    """File of one plane of a stack.

    Attributes:
        file: path of the plane.
        label: its place in the stack, such as "T03".
        notes: decisions made while it was read from the stack, in words.
        pixel_size_um: (x, y) pixel size in micrometres, or None.
    """

    file: Path
    label: str
    notes: tuple[str, ...]
    pixel_size_um: tuple[float, float] | None


def unpack_stack(
    path: Path, stack_sha256: str, choice: PlaneChoice, folder: Path, advance: Advance
) -> list[UnpackedPlane]:
    """Write the planes of a stack as files, except those that exist.

    Args:
        path: path of the stack.
        stack_sha256: hash of its file; planes of another stack of the same name get other names.
        choice: planes to write; `selects_every_plane` is true of it.
        folder: folder of the planes.
        advance: called with the fraction of the stack that was processed since the last call.

    Returns:
        Planes in order; empty for a file with a single plane that needs no choice of channel.

    Raises:
        UserError: the file is damaged or no picture, lacks an axis of `choice`, or has planes that
            do not fit into memory; or the disk cannot be written.
    """
    if needs_openslide(path):
        return []
    # The raster of any picture of a file states how many pictures the file has.
    with opened_raster(path, PlaneChoice(page="1")) as raster:
        pictures = raster.pictures
        if pictures == 1:
            planes = single_planes(raster.axes, choice, name=str(path))
            if planes == [("", PlaneChoice())]:
                return []
            return _planes(raster, path, stack_sha256, planes, folder, advance)
    check_number_of_planes(pictures, name=str(path))
    found: list[UnpackedPlane] = []
    for number in range(1, pictures + 1):
        alone = PlaneChoice(channel=choice.channel, page=str(number))
        with opened_raster(path, alone) as raster:
            planes = single_planes(raster.axes, choice, name=f"Picture {number} of {path}")
            check_number_of_planes(len(found) + len(planes), name=str(path))
            picture = f"P{number:0{len(str(pictures))}d}"
            planes = [
                (f"{picture}_{label}", one) if label else (picture, alone) for label, one in planes
            ]
            share = 1 / pictures
            found += _planes(raster, path, stack_sha256, planes, folder, advance, share)
    return found


def _planes(
    raster: Raster,
    path: Path,
    stack_sha256: str,
    planes: list[tuple[str, PlaneChoice]],
    folder: Path,
    advance: Advance,
    share: float = 1.0,
) -> list[UnpackedPlane]:
    """Write the planes of one picture, which is the fraction `share` of its file."""
    # File systems limit names to 255 bytes.
    stem = os.fsencode(path.stem)[:200].decode("utf-8", "ignore")
    found = []
    for label, choice in planes:
        digest = sha256(f"{stack_sha256} {choice}".encode())[:8]
        file = folder / f"{'_'.join(filter(None, (stem, label)))}-{digest}.tif"
        known = _facts(file)
        if known is None:
            values, notes, size_um = plane_numbers(raster, choice)
            write_atomically(file, _tiff(values, notes, size_um), elsewhere="--out")
            known = notes, size_um
        advance(share / len(planes))
        found.append(UnpackedPlane(file, label, *known))
    return found


def _tiff(
    values: NDArray[Any], notes: tuple[str, ...], size_um: tuple[float, float] | None
) -> bytes:
    """Encode a plane as TIFF; equal planes give equal bytes.

    Args:
        values: (H, W) or (H, W, 3).
        notes: stored in the description, with the exact pixel size.
        size_um: (x, y) pixel size in micrometres; also stored as resolution for other programs.
    """
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.ascontiguousarray(values),
        photometric="rgb" if values.ndim == 3 else "minisblack",
        compression="zlib",
        metadata=None,
        software=False,
        description=json.dumps({"notes": notes, "um_per_px": size_um}),
        resolution=None if size_um is None else (_UM_PER_CM / size_um[0], _UM_PER_CM / size_um[1]),
        resolutionunit=None if size_um is None else "CENTIMETER",
    )
    return stream.getvalue()


def _facts(file: Path) -> tuple[tuple[str, ...], tuple[float, float] | None] | None:
    """Read the notes and the pixel size of a plane file; None if there is no valid one."""
    if file.is_symlink():  # it may lead to a file of another folder
        return None
    try:
        with open_file(file, most=FILE.size) as stream, closing(open_tiff(stream)) as tiff:
            page, pages = tiff.pages.first, len(tiff.pages)
            ends = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
            document = json.loads(page.description)
            size = stream.seek(0, os.SEEK_END)
        notes, size_um = document["notes"], document["um_per_px"]
        edges = plausible(size_um)
        is_valid = pages == 1 and ends <= size and (edges is None) == (size_um is None)
        return (tuple(str(note) for note in notes), edges) if is_valid else None
    except Exception:  # a changed or damaged file is written again
        return None
