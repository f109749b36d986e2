"""Reader of ImageJ ROIs: a `.roi` file, or a `.zip` of them from the ROI Manager."""

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    points_array,
    read_annotation_bytes,
    refuse_slices,
)
from cellbench.data.annotation_formats.shapes import composite_centroid, polygon_centroid
from cellbench.data.point_conventions import IMAGEJ_AREA, IMAGEJ_POINT
from cellbench.errors import UserError

if TYPE_CHECKING:
    from roifile import ImagejRoi

PROGRAM = "ImageJ"

# Limits of an untrusted archive; a multi-point selection of 100,000 cells has 1 MB.
_MOST_ROIS = 200_000
_MOST_ROI_BYTES = 32 * 2**20
_MOST_BYTES = 256 * 2**20

POINTS_NOTE = "ImageJ has the centres of pixels at whole numbers: 0.5 was added to its points."
AREAS_NOTE = "Each outline of ImageJ is one cell, at its centroid."


def read_imagej(path: Path) -> list[FileAnnotation]:
    """Read the points of all point selections, and the centroids of all areas.

    Raises:
        UserError: the file is damaged or too large, holds a line, which is no cell, or has marks
            on several slices of a stack.
    """
    data = read_annotation_bytes(path)
    with explained_parsing(path, PROGRAM):
        from roifile import ImagejRoi

        members = members_of(data, path) if data[:2] == b"PK" else [data]
        places: list[tuple[float, float]] = []
        classes: set[str] = set()
        notes: dict[str, None] = {}
        slices: set[int] = set()
        for member in members:
            roi = ImagejRoi.frombytes(member)
            slices |= _slices(roi)
            found, note = _cells(roi, path)
            places += found
            notes[note] = None
            if roi.counters is not None:
                classes |= {str(int(one)) for one in np.unique(np.asarray(roi.counters))}
    refuse_slices(path, len(slices))
    all_notes = (*notes, *combined_classes_note(sorted(classes), "counters"))
    return [FileAnnotation(points_array(places, path), notes=all_notes)]


def members_of(data: bytes, path: Path) -> list[bytes]:
    """Read the ROI files in an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = [one for one in archive.infolist() if one.filename.lower().endswith(".roi")]
        if not listed and archive.infolist():
            raise UserError(f"{path} holds no .roi file; save the ROI Manager's list again.")
        if len(listed) > _MOST_ROIS:
            raise UserError(f"{path} holds {len(listed)} ROIs, more than {_MOST_ROIS}; divide it.")
        found, remaining = [], _MOST_BYTES
        for one in listed:
            if one.file_size > min(_MOST_ROI_BYTES, remaining):
                raise UserError(f"{path} unpacks to more than ROIs have; save the list again.")
            with archive.open(one) as stream:
                found.append(stream.read(min(_MOST_ROI_BYTES, remaining) + 1))
            remaining -= len(found[-1])
            if remaining < 0:
                raise UserError(f"{path} unpacks to more than ROIs have; save the list again.")
    return found


def _cells(roi: "ImagejRoi", path: Path) -> tuple[list[tuple[float, float]], str]:
    from roifile import ROI_TYPE

    if roi.roitype == ROI_TYPE.POINT:
        shift = IMAGEJ_POINT.shift_px
        at = np.asarray(roi.coordinates(), dtype=np.float64).reshape(-1, 2) + shift
        return [(float(x), float(y)) for x, y in at], POINTS_NOTE
    shift = IMAGEJ_AREA.shift_px
    if roi.multi_coordinates is not None:
        x, y = composite_centroid([np.asarray(ring) for ring in roi.coordinates(multi=True)])
        return [(x + shift, y + shift)], AREAS_NOTE
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        left, top, right, bottom = bounds_of(roi)
        return [((left + right) / 2 + shift, (top + bottom) / 2 + shift)], AREAS_NOTE
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        x, y = polygon_centroid([np.asarray(roi.coordinates(), dtype=np.float64).tolist()])
        return [(x + shift, y + shift)], AREAS_NOTE
    raise UserError(
        f"{path} holds a selection of the kind {roi.roitype.name.lower()} ({roi.name[:40]!r}), "
        "which is no cell; save points or areas."
    )


def bounds_of(roi: "ImagejRoi") -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a rectangle or oval.

    Its subpixel fields are used if it has them, since its integer fields are truncated.
    """
    if roi.subpixelrect:
        return roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
    return float(roi.left), float(roi.top), float(roi.right), float(roi.bottom)


def _slices(roi: "ImagejRoi") -> set[int]:
    """Return the slices of a stack that a selection lies on; empty if it lies on all of them."""
    if roi.counter_positions is not None:
        found = {int(at) for at in np.unique(np.asarray(roi.counter_positions))} - {0}
        if found:
            return found
    # Hyperstacks store slice and frame separately; channels of one field are one image.
    place = max(roi.position, 0) or (max(roi.t_position, 0) << 32 | max(roi.z_position, 0))
    return {place} - {0}
