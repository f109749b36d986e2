"""Regions of interest of an image: read them from files, find the cells in them and their areas.

A cell lies in a region if its centre does. A centre on the border of two regions lies in only one:
an outline includes its left and upper border and not its right and lower one, as pixels do.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.annotation_formats.file_annotation import (
    explained_parsing,
    read_annotation_bytes,
    read_annotation_json,
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
from cellbench.data.reader import DEFAULT_READ_OPTIONS, read_numbers
from cellbench.errors import UserError
from cellbench.structures import Points

if TYPE_CHECKING:
    from roifile import ImagejRoi

GEOJSON, IMAGEJ = (".geojson", ".json"), (".roi", ".zip")
_MOST_REGIONS = 10_000
_MOST_CORNERS = 1_000_000
_ARC = 256


class Region(ABC):
    """Region of an image.

    Attributes:
        name: name, unique within the image.
        area_px: area within the image, px.
    """

    name: str
    area_px: float

    @abstractmethod
    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Return for each of (N, 2) points, (x, y) px, whether it lies in the region."""


@dataclass(frozen=True)
class Outline(Region):
    """Region inside an odd number of closed polygons.

    Attributes:
        name: see `Region`.
        rings: (C, 2) corners of each polygon, (x, y) px.
        size: (width, height) of the image.
    """

    name: str
    rings: tuple[NDArray[np.float64], ...]
    size: tuple[int, int]

    @property
    def area_px(self) -> float:  # type: ignore[override]
        """Area within the image, px."""
        return even_odd_area(self.rings, self.size)

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """See `Region`."""
        return _inside(self.rings, np.asarray(points, np.float64).reshape(-1, 2))


@dataclass(frozen=True)
class MaskRegion(Region):
    """Region of the pixels of a mask that have one label."""

    name: str
    labels: NDArray[Any]
    label: int

    @property
    def area_px(self) -> float:  # type: ignore[override]
        """Number of pixels."""
        return float((self.labels == self.label).sum())

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """See `Region`."""
        height, width = self.labels.shape
        column = np.clip(np.floor(points[:, 0]).astype(int), 0, width - 1)
        row = np.clip(np.floor(points[:, 1]).astype(int), 0, height - 1)
        return np.asarray(self.labels[row, column] == self.label)


def read_regions(path: Path, size: tuple[int, int]) -> list[Region]:
    """Read the regions of an image.

    Args:
        path: GeoJSON of QuPath, .roi or .zip of ImageJ, or a mask image whose pixels have the
            number or the colour of their region, 0 or black outside.
        size: (width, height) of the image.

    Raises:
        UserError: the file cannot be read, holds no region or too many, or is a mask of another
            size.
    """
    suffix = path.suffix.lower()
    if suffix in GEOJSON:
        found = _read_geojson(path, size)
    elif suffix in IMAGEJ:
        found = _read_imagej(path, size)
    elif is_named_as_picture(path):
        return _read_mask(path, size)
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


def _read_geojson(path: Path, size: tuple[int, int]) -> list[_Named]:
    document = read_annotation_json(path)
    found: list[_Named] = []
    with explained_parsing(path, "QuPath"):
        features = list(features_of(document))
        # An export of all objects also has outlines of cells: only drawn regions count then.
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


def _read_imagej(path: Path, size: tuple[int, int]) -> list[_Named]:
    data = read_annotation_bytes(path)
    found: list[_Named] = []
    with explained_parsing(path, "ImageJ"):
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


def _read_mask(path: Path, size: tuple[int, int]) -> list[Region]:
    values, coloured = _mask_labels(path)
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


def _mask_labels(path: Path) -> tuple[NDArray[Any], bool]:
    """Read the labels of a mask, (H, W), and whether they are colours, as 0xrrggbb.

    The labels of an image with a palette are its indices. They are its colours if black, which is
    the background of colours, is used and index 0 is another colour: some programs sort a palette.
    """
    values, _, _ = read_numbers(path, DEFAULT_READ_OPTIONS)
    stored = _stored_labels(path, (values.shape[1], values.shape[0]))
    values = values if stored is None else stored
    if values.ndim == 2:
        return values, False
    if (values == values[:, :, :1]).all():
        return values[:, :, 0], False
    bits = 8 if values.max() < 256 else 16
    red, green, blue = (values[:, :, channel].astype(np.int64) for channel in range(3))
    return red << 2 * bits | green << bits | blue, True


def _stored_labels(path: Path, size: tuple[int, int]) -> NDArray[Any] | None:
    """Read the indices or colours of a mask with a palette or alpha; None where it has neither.

    Transparent pixels are 0; `read_numbers` would fill them with a background colour.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            palette = image.getpalette("RGB") if image.mode == "P" else None
            if palette is None and image.mode not in ("LA", "RGBA"):
                return None
        stored, _ = read_native(path)
    except Exception:  # for example several planes; `read_numbers` has read the image already
        return None
    if stored.shape[:2] != size[::-1]:  # `read_numbers` applied an orientation
        return None
    if palette is None:
        return stored
    used = [int(index) for index in np.unique(stored)]
    black = [index for index in used if not any(palette[3 * index : 3 * index + 3])]
    return None if black and any(palette[:3]) else stored


def _inside(rings: Sequence[NDArray[np.float64]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each point whether an odd number of edges lies to its right."""
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
