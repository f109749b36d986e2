"""Reader of VIA (VGG Image Annotator) 1 and 2: one JSON file for many images."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    explained_parsing,
    finite_number,
    points_array,
    read_annotation_json,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.point_conventions import VIA_AREA, VIA_POINT

PROGRAM = "VIA"

_POINTS = "VIA has the centres of pixels at whole numbers: 0.5 was added to its points."
_AREAS = "Each outline of VIA is one cell, at its middle."


def is_via(document: Any) -> bool:
    """Return whether a JSON document is a project of VIA, or the annotations that it exports."""
    if not isinstance(document, Mapping):
        return False
    files = document.get("_via_img_metadata", document)
    return (
        isinstance(files, Mapping)
        and bool(files)
        and all(isinstance(one, Mapping) and {"filename", "regions"} <= one.keys()
                for one in files.values())
    )  # fmt: skip


def read_via(path: Path) -> list[FileAnnotation]:
    """Read one cell per region: its point, or the middle of its outline.

    Raises:
        UserError: the file is not in this format, or holds a line.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_via(document):
            raise ValueError("it lists no files with regions")
        found = []
        for one in document.get("_via_img_metadata", document).values():
            regions: Any = one["regions"]
            listed: Iterable[Any] = regions.values() if isinstance(regions, Mapping) else regions
            cells = [_cell(region["shape_attributes"]) for region in listed]
            notes = dict.fromkeys(note for _, note in cells)
            found.append(
                FileAnnotation(
                    points_array([place for place, _ in cells], path),
                    picture=str(one["filename"]),
                    notes=tuple(notes),
                )
            )
        return found


def _cell(shape: Mapping[str, Any]) -> tuple[tuple[float, float], str]:
    kind = shape["name"]
    if kind == "point":
        shift = VIA_POINT.shift_px
        return (finite_number(shape["cx"]) + shift, finite_number(shape["cy"]) + shift), _POINTS
    shift = VIA_AREA.shift_px
    if kind in ("circle", "ellipse"):
        x, y = finite_number(shape["cx"]), finite_number(shape["cy"])
    elif kind == "rect":
        x = finite_number(shape["x"]) + finite_number(shape["width"]) / 2
        y = finite_number(shape["y"]) + finite_number(shape["height"]) / 2
    elif kind == "polygon":
        xs, ys = (map(finite_number, shape[f"all_points_{axis}"]) for axis in "xy")
        x, y = polygon_centroid([list(zip(xs, ys, strict=True))])
    else:
        raise ValueError(f"a region of the kind {str(kind)[:40]!r} is no cell")
    return (x + shift, y + shift), _AREAS
