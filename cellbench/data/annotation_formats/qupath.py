"""Reader of QuPath's GeoJSON: points, and outlines that are cells."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    read_annotation_json,
    refuse_slices,
)
from cellbench.data.annotation_formats.shapes import multipolygon_centroid, polygon_centroid
from cellbench.data.point_conventions import QUPATH
from cellbench.errors import UserError

PROGRAM = "QuPath"

# Object types by the ids that version 0.2 wrote instead of them.
_TYPES_OF_0_2 = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmacore",
    "PathRootObject": "root",
}
# Outlines that QuPath itself lays over an image: they are no cells, whatever they contain.
_NO_CELLS = {"tile": "tiles", "tmacore": "cores of an array", "root": "outlines of the picture"}


def is_qupath(document: Any) -> bool:
    """Return whether a JSON document is GeoJSON: a collection, list, feature or geometry."""
    if isinstance(document, list):
        return bool(document) and all(map(is_qupath, document[:3]))
    if not isinstance(document, Mapping):
        return False
    kinds = ("FeatureCollection", "Feature", "Point", "MultiPoint", "Polygon", "MultiPolygon")
    return document.get("type") in kinds


def read_qupath(path: Path) -> list[FileAnnotation]:
    """Read points and outlines as cells.

    A point is a cell, and so is the outline of a detection. An outline drawn as an annotation is a
    cell if the file has no others, and a region otherwise. Tiles and cores of a tissue array are
    no cells.

    Raises:
        UserError: the file is not GeoJSON, or holds nothing but lines, tiles and the like.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_qupath(document) and document != []:
            raise ValueError("it holds no features")
        marks: list[tuple[float, float]] = []
        regions: list[tuple[float, float]] = []
        classes: set[str] = set()
        no_cells: Counter[str] = Counter()
        planes: dict[bool, set[tuple[Any, Any]]] = {False: set(), True: set()}  # keyed by `area`
        for feature in features_of(document):
            geometry, properties = parts_of(feature)
            kind = geometry.get("type")
            found = _cells(geometry)
            outline, drawn = kind in ("Polygon", "MultiPolygon"), type_of(feature)
            if found is None or (outline and drawn in _NO_CELLS):
                no_cells["lines" if found is None else _NO_CELLS[drawn]] += 1
                continue
            area = outline and drawn == "annotation"
            (regions if area else marks).extend(found)
            plane = geometry.get("plane") or {}  # QuPath's extension, omitted for the first plane
            planes[area].add((plane.get("z", 0), plane.get("t", 0)))
            if not area:
                classes.add(class_of(properties)[:40])
        refuse_slices(path, len(planes[not marks]))
        notes = combined_classes_note(sorted(classes), "classes")
        if not marks and regions:
            notes += ("Each outline of QuPath is one cell, at its centroid.",)
            marks = regions
        elif regions:
            notes += (f"{len(regions)} outlined regions are no cells.",)
        if no_cells and not marks:
            raise UserError(
                f"{path} holds {' and '.join(no_cells)} and no points; mark cells with the points "
                "tool, or export detections."
            )
        notes += tuple(f"{many} {what} are no cells." for what, many in no_cells.items())
    return [FileAnnotation(points_array(marks, path, QUPATH.shift_px), notes=notes)]


def features_of(document: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every feature of a GeoJSON document, or its bare geometry.

    Raises:
        ValueError: a feature is not an object.
    """
    if isinstance(document, Mapping) and document.get("type") == "FeatureCollection":
        document = document["features"]
    for feature in document if isinstance(document, list) else [document]:
        if not isinstance(feature, Mapping):
            raise ValueError("a feature is no object")
        yield feature


def parts_of(feature: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the geometry and properties of a feature.

    Raises:
        ValueError: it has no geometry.
    """
    if feature.get("type") != "Feature":  # a bare geometry
        return feature, {}
    geometry, properties = feature.get("geometry"), feature.get("properties") or {}
    if not isinstance(geometry, Mapping) or not isinstance(properties, Mapping):
        raise ValueError("a feature has no geometry")
    return geometry, properties


def type_of(feature: Mapping[str, Any]) -> str:
    """Return the object type of a feature in lower case; "annotation" if it states none."""
    _, properties = parts_of(feature)
    object_type = properties.get("objectType", properties.get("object_type"))
    if not object_type:
        object_type = _TYPES_OF_0_2.get(str(feature.get("id")), "annotation")
    return str(object_type).casefold().replace("_", "")


def class_of(properties: Mapping[str, Any]) -> str:
    """Return the name of an object's class, which newer versions list in parts; empty if none."""
    classification = properties.get("classification")
    if not isinstance(classification, Mapping):
        return ""
    parts = classification.get("names")
    name = ": ".join(map(str, parts)) if isinstance(parts, list) else classification.get("name")
    return str(name or "")


def _cells(geometry: Mapping[str, Any]) -> list[tuple[float, float]] | None:
    """Return the cells of a geometry; None for a line."""
    kind, places = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        return [_place(places)]
    if kind == "MultiPoint":
        return [_place(one) for one in _listed(places)]
    if kind == "Polygon":
        return [polygon_centroid(rings_of(places))]
    if kind == "MultiPolygon":
        return [multipolygon_centroid([rings_of(one) for one in _listed(places)])]
    if kind in ("LineString", "MultiLineString"):
        return None
    raise ValueError(f"a geometry of the type {str(kind)[:40]!r}")


def rings_of(places: Any) -> list[list[tuple[float, float]]]:
    """Return the rings of a polygon: its outline, then its holes.

    Raises:
        ValueError: it has none.
    """
    rings = [[_place(one) for one in _listed(ring)] for ring in _listed(places)]
    if not rings:
        raise ValueError("an outline without corners")
    return rings


def _place(place: Any) -> tuple[float, float]:
    if not isinstance(place, list) or len(place) not in (2, 3):
        raise ValueError(f"{str(place)[:40]!r} is no place")
    return finite_number(place[0]), finite_number(place[1])


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:40]!r} is no list")
    return value
