"""Reader of LabelMe: one JSON file beside each image."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    read_annotation_json,
    side_px,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.point_conventions import LABELME

PROGRAM = "LabelMe"


def is_labelme(document: Any) -> bool:
    """Return whether a JSON document has LabelMe's list of shapes."""
    return isinstance(document, Mapping) and isinstance(document.get("shapes"), list)


def read_labelme(path: Path) -> list[FileAnnotation]:
    """Read one cell per shape: its point, or the middle of its outline.

    Raises:
        UserError: the file is not in this format, or holds a line.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_labelme(document):
            raise ValueError("it has no list of shapes")
        places, classes, outlines = [], set(), 0
        for shape in document["shapes"]:
            kind = str(shape.get("shape_type") or "polygon")
            corners = [(finite_number(x), finite_number(y)) for x, y in shape["points"]]
            places.append(_middle(kind, corners))
            outlines += kind != "point"
            classes.add(str(shape.get("label", ""))[:40])
        size = None
        if document.get("imageWidth") and document.get("imageHeight"):
            size = side_px(document["imageWidth"]), side_px(document["imageHeight"])
        notes = combined_classes_note(sorted(classes), "labels")
        if outlines:
            notes += ("Each outline of LabelMe is one cell, at its middle.",)
        image_path = document.get("imagePath")
        return [
            FileAnnotation(
                points_array(places, path, LABELME.shift_px),
                picture=re.split(r"[/\\]", image_path)[-1] if isinstance(image_path, str) else None,
                size=size,
                notes=notes,
            )
        ]


def _middle(kind: str, corners: list[tuple[float, float]]) -> tuple[float, float]:
    if kind == "point" and len(corners) == 1:
        return corners[0]
    if kind == "polygon" and len(corners) >= 3:
        return polygon_centroid([corners])
    if kind == "rectangle" and len(corners) in (2, 4):
        xs, ys = zip(*corners, strict=True)
        return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    if kind == "mask" and len(corners) == 2:  # first and last pixel of its box
        (left, top), (right, bottom) = corners
        return (left + right + 1) / 2, (top + bottom + 1) / 2
    if kind == "circle" and len(corners) == 2:
        return corners[0]
    raise ValueError(f"a shape of the kind {kind[:40]!r} with {len(corners)} points is no cell")
