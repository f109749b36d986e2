"""Each plane of a stack or time series as a picture of its own: `count --page all`.

A plane is written to `planes/` of the folder of the tables as a TIFF, without loss, so that it is
marked, looked at, corrected and learned from as every other picture is.
"""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.decoded import Raster
from cellbench.data.planes import PlaneChoice, single_planes
from cellbench.data.reader import opened_raster, plane_numbers
from cellbench.data.slides import needs_openslide
from cellbench.engine.work_progress import Advance
from cellbench.files.writing import sha256, write_atomically

PLANES = "planes"
_UM_PER_CM = 1e4


@dataclass(frozen=True, slots=True)
class UnpackedPlane:
    """A plane of a stack, and the file that holds it alone.

    Attributes:
        file: of the plane.
        label: which plane it is, such as "T03".
        notes: what was decided when it was read from the stack, in words.
        pixel_size_um: (x, y) edges of a pixel in micrometres, where the stack has them.
    """

    file: Path
    label: str
    notes: tuple[str, ...]
    pixel_size_um: tuple[float, float] | None


def unpack_stack(
    path: Path, stack_sha256: str, choice: PlaneChoice, folder: Path, advance: Advance
) -> list[UnpackedPlane]:
    """Write the planes of a stack as files; those that are there already stay.

    Args:
        path: of the stack.
        stack_sha256: of its file: planes of another stack of its name have other names.
        choice: with a `page` of `selects_every_plane`.
        folder: of the planes.
        advance: takes the share of the stack that a plane is.

    Returns:
        The planes in order; none for a file that is one plane as it is.

    Raises:
        UserError: the file is no picture, damaged, has other axes than were named, or has planes
            that do not fit into memory; or the disk cannot be written.
    """
    if needs_openslide(path):
        return []
    # The first picture of a file of several tells how many there are.
    with opened_raster(path, PlaneChoice(page="1")) as raster:
        pictures = getattr(raster, "pictures", 1)
        planes = single_planes(raster.axes, choice, name=str(path))
        if pictures == 1 and planes == [("", PlaneChoice())]:
            return []
        if pictures == 1:
            return [
                _unpacked(raster, path, stack_sha256, label, one, folder, advance, len(planes))
                for label, one in planes
            ]
    found = []
    for number in range(1, pictures + 1):
        one = PlaneChoice(channel=choice.channel, page=str(number))
        label = f"P{number:0{len(str(pictures))}d}"
        with opened_raster(path, one) as raster:
            found.append(
                _unpacked(raster, path, stack_sha256, label, one, folder, advance, pictures)
            )
    return found


def _unpacked(
    raster: Raster,
    path: Path,
    stack_sha256: str,
    label: str,
    choice: PlaneChoice,
    folder: Path,
    advance: Advance,
    planes: int,
) -> UnpackedPlane:
    digest = sha256(f"{stack_sha256} {choice}".encode())[:8]
    # Disks take names of 255 bytes.
    stem = os.fsencode(path.stem)[:200].decode("utf-8", "ignore")
    file = folder / f"{'_'.join(filter(None, (stem, label)))}-{digest}.tif"
    known = _facts(file)
    if known is None:
        values, notes, size_um = plane_numbers(raster, choice)
        write_atomically(file, _tiff(values, notes, size_um), elsewhere="--out")
        known = notes, size_um
    advance(1 / planes)
    return UnpackedPlane(file, label, *known)


def _tiff(
    values: NDArray[Any], notes: tuple[str, ...], size_um: tuple[float, float] | None
) -> bytes:
    """A plane as a TIFF file, the same bytes for the same plane.

    Args:
        values: (H, W) or (H, W, 3).
        notes: kept in its description, with the exact size of a pixel.
        size_um: edges of a pixel; other programs read it from the resolution.
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
    """Notes and size of a pixel of a plane that was written before; None where it was not."""
    import tifffile

    if not file.is_file():  # also keeps us from waiting for ever on a pipe
        return None
    try:
        with tifffile.TiffFile(file) as tiff:
            document = json.loads(tiff.pages.first.description)
        notes, size_um = document["notes"], document["um_per_px"]
        edges = None if size_um is None else (float(size_um[0]), float(size_um[1]))
        return tuple(str(note) for note in notes), edges
    except Exception:  # somebody has changed it: it is written anew
        return None
