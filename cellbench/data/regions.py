"""Regions of a picture: which cells lie in each, and how large each is.

A cell lies in a region if its centre does. Of regions that share a border a centre on it lies in
one: an outline holds its left and upper border and not its right and lower one, as pixels do.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.annotation_formats.file_annotation import (
    read_annotation_bytes,
    read_annotation_json,
    reading,
)
from cellbench.data.annotation_formats.imagej_rois import bounds_of, members_of
from cellbench.data.annotation_formats.native_pixels import read_native
from cellbench.data.annotation_formats.qupath import (
    class_of,
    features_of,
    parts_of,
    rings_of,
    type_of,
)
from cellbench.data.images import FORMATS, is_named_as_picture
from cellbench.data.outline_areas import even_odd_area
from cellbench.data.reader import AS_THEY_COME, read_numbers
from cellbench.errors import UserError
from cellbench.structures import Points

if TYPE_CHECKING:
    from roifile import ImagejRoi

GEOJSON, IMAGEJ = (".geojson", ".json"), (".roi", ".zip")
_MOST_REGIONS = 10_000
_MOST_CORNERS = 1_000_000
_ARC = 256


class Region(ABC):
    """A part of a picture.

    Attributes:
        name: unique within the picture.
        area_px: of what lies within the picture.
    """

    name: str
    area_px: float

    @abstractmethod
    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Which of (N, 2) points, (x, y) px, lie in it."""


@dataclass(frozen=True)
class Outline(Region):
    """What an odd number of closed lines surrounds.

    Attributes:
        name: see `Region`.
        rings: (C, 2) corners of each line, (x, y) px.
        size: (width, height) of the picture.
    """

    name: str
    rings: tuple[NDArray[np.float64], ...]
    size: tuple[int, int]

    @property
    def area_px(self) -> float:  # type: ignore[override]
        """Area within the picture."""
        return even_odd_area(self.rings, self.size)

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """See `Region`."""
        return _odd(self.rings, np.asarray(points, np.float64).reshape(-1, 2))


@dataclass(frozen=True)
class MaskRegion(Region):
    """The pixels of a mask that have one label."""

    name: str
    labels: NDArray[Any]
    label: int

    @property
    def area_px(self) -> float:  # type: ignore[override]
        """Number of its pixels."""
        return float((self.labels == self.label).sum())

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """See `Region`."""
        height, width = self.labels.shape
        column = np.clip(np.floor(points[:, 0]).astype(int), 0, width - 1)
        row = np.clip(np.floor(points[:, 1]).astype(int), 0, height - 1)
        return np.asarray(self.labels[row, column] == self.label)


def read_regions(path: Path, size: tuple[int, int]) -> list[Region]:
    """Read the regions of a picture.

    Args:
        path: GeoJSON as QuPath exports it, ImageJ's .roi or .zip, or a picture whose pixels have
            the number or the colour of their region, 0 or black outside.
        size: (width, height) of the picture.

    Raises:
        UserError: it cannot be read, holds no region, or is a mask of another size.
    """
    suffix = path.suffix.lower()
    if suffix in GEOJSON:
        found = _of_geojson(path, size)
    elif suffix in IMAGEJ:
        found = _of_imagej(path, size)
    elif is_named_as_picture(path):
        return _of_mask(path, size)
    else:
        raise UserError(
            f"{path} holds no regions; they are in .geojson of QuPath, .roi or .zip of ImageJ, or "
            "a mask picture."
        )
    if not found:
        raise UserError(f"{path} holds no outline of a region; draw areas, not points or lines.")
    if len(found) > _MOST_REGIONS:
        raise UserError(f"{path} holds {len(found)} regions, more than {_MOST_REGIONS}; divide it.")
    names: dict[str, int] = {}
    regions: list[Region] = []
    for number, (name, rings) in enumerate(found, 1):
        title = " ".join(name.split())[:80] or f"region {number}"
        names[title] = names.get(title, 0) + 1
        if names[title] > 1:
            title = f"{title} ({names[title]})"
        regions.append(Outline(title, tuple(rings), size))
    return regions


_DRAWN = ("annotation", "tmacore")
_AREAS = ("Polygon", "MultiPolygon")
_Named = tuple[str, list[NDArray[np.float64]]]


def _of_geojson(path: Path, size: tuple[int, int]) -> list[_Named]:
    document = read_annotation_json(path)
    found: list[_Named] = []
    with reading(path, "QuPath"):
        features = list(features_of(document))
        # All objects exported at once: outlines of cells lie in the regions that were drawn.
        drawn = [
            one
            for one in features
            if type_of(one) in _DRAWN and parts_of(one)[0].get("type") in _AREAS
        ]
        for feature in drawn or features:
            geometry, properties = parts_of(feature)
            kind, places = geometry.get("type"), geometry.get("coordinates")
            if kind == "Polygon":
                polygons = [places]
            elif kind == "MultiPolygon" and isinstance(places, list):
                polygons = places
            else:
                continue
            rings = [_ring(ring) for polygon in polygons for ring in rings_of(polygon)]
            name = properties.get("name") or class_of(properties)
            found.append((str(name or ""), [ring for ring in rings if len(ring) >= 3]))
    return [one for one in found if one[1]]


def _of_imagej(path: Path, size: tuple[int, int]) -> list[_Named]:
    data = read_annotation_bytes(path)
    found: list[_Named] = []
    with reading(path, "ImageJ"):
        from roifile import ImagejRoi

        for member in members_of(data, path) if data[:2] == b"PK" else [data]:
            roi = ImagejRoi.frombytes(member)
            rings = _imagej_rings(roi)
            if rings:
                found.append((str(roi.name or ""), rings))
    return found


def _imagej_rings(roi: "ImagejRoi") -> list[NDArray[np.float64]]:
    from roifile import ROI_TYPE

    left, top, right, bottom = bounds_of(roi)
    if roi.roitype == ROI_TYPE.OVAL:
        turn = np.linspace(0, 2 * np.pi, _ARC, endpoint=False)
        across, down = (right - left) / 2, (bottom - top) / 2
        corners = [left + across + across * np.cos(turn), top + down + down * np.sin(turn)]
        return [np.stack(corners, axis=1)]
    if roi.roitype == ROI_TYPE.RECT and roi.multi_coordinates is None:
        return [_ring([(left, top), (right, top), (right, bottom), (left, bottom)])]
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        parts = roi.coordinates(multi=True)
        rings = [_ring(part) for part in (parts if isinstance(parts, list) else [parts])]
        return [ring for ring in rings if len(ring) >= 3]
    return []


def _ring(places: Any) -> NDArray[np.float64]:
    corners = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    if len(corners) > _MOST_CORNERS or not np.isfinite(corners).all():
        raise ValueError("an outline with too many corners, or one that is no place")
    return corners


def _of_mask(path: Path, size: tuple[int, int]) -> list[Region]:
    values, coloured = _labels_of(path)
    if (values.shape[1], values.shape[0]) != size:
        raise UserError(
            f"{path} has {values.shape[1]}x{values.shape[0]} px and its picture {size[0]}x{size[1]}"
            " px; a mask has the size of its picture."
        )
    labels = [int(label) for label in np.unique(values) if label > 0]
    if not labels:
        raise UserError(f"{path} is 0 everywhere; a mask has the number of its region there.")
    if len(labels) > _MOST_REGIONS:
        raise UserError(f"{path} has {len(labels)} numbers; save it as a mask, not as a photo.")
    whole = values.astype(np.int64)
    if len(labels) == 1:
        return [MaskRegion("region", whole, labels[0])]
    shown = "region #{:06x}" if coloured else "region {}"
    return [MaskRegion(shown.format(label), whole, label) for label in labels]


def _labels_of(path: Path) -> tuple[NDArray[Any], bool]:
    """The number of the region of each pixel, (H, W); and whether it is a colour, as 0xrrggbb.

    Of a picture with a palette it is the index, unless black, which is the ground of colours, is in
    the picture and is not index 0, as where a program has sorted the colours.
    """
    values, _, _ = read_numbers(path, AS_THEY_COME)
    stored = _stored(path, (values.shape[1], values.shape[0]))
    values = values if stored is None else stored
    if values.ndim == 2:
        return values, False
    if (values == values[:, :, :1]).all():
        return values[:, :, 0], False
    bits = 8 if values.max() < 256 else 16
    red, green, blue = (values[:, :, channel].astype(np.int64) for channel in range(3))
    return red << 2 * bits | green << bits | blue, True


def _stored(path: Path, size: tuple[int, int]) -> NDArray[Any] | None:
    """Indices or colours of a mask with a palette or alpha; None where it has neither.

    What is transparent is 0; a picture to be seen would show its ground there.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            palette = image.getpalette("RGB") if image.mode == "P" else None
            if palette is None and image.mode not in ("LA", "RGBA"):
                return None
        stored, _ = read_native(path)
    except Exception:  # such as one of several planes; its numbers were read already
        return None
    if stored.shape[:2] != size[::-1]:  # turned as its orientation states
        return None
    if palette is None:
        return stored
    used = [int(index) for index in np.unique(stored)]
    black = [index for index in used if not any(palette[3 * index : 3 * index + 3])]
    return None if black and any(palette[:3]) else stored


def _odd(rings: Sequence[NDArray[np.float64]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points an odd number of edges lies to the right of."""
    order = np.argsort(points[:, 1], kind="stable")
    x, y = points[order, 0], points[order, 1]
    inside = np.zeros(len(points), dtype=bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 == y1:
                continue
            low, high = min(y0, y1), max(y0, y1)
            first, last = np.searchsorted(y, [low, high], side="left")  # low <= y < high
            if first < last:
                at = x0 + (y[first:last] - y0) * ((x1 - x0) / (y1 - y0))
                inside[first:last] ^= x[first:last] < at
    found = np.zeros(len(points), dtype=bool)
    found[order] = inside
    return found
