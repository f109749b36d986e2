"""Reader of projects of VIA 3 (VGG Image Annotator): shapes as lists of numbers, by view."""

from collections.abc import Mapping, Sequence
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
from cellbench.data.point_conventions import VIA_POINT

PROGRAM = "VIA 3"

_POINT, _RECTANGLE, _CIRCLE, _ELLIPSE, _POLYGON = 1, 2, 3, 4, 7
_PICTURE = 2  # type of a file; others are video and audio

_WHOLE = "VIA has the centres of pixels at whole numbers: 0.5 was added to its points."
_AREAS = "Each outline of VIA is one cell, at its middle."


def is_via_project(document: Any) -> bool:
    """Return whether a JSON document is a project of VIA 3."""
    return isinstance(document, Mapping) and all(
        isinstance(document.get(key), Mapping) for key in ("project", "file", "view", "metadata")
    )


def read_via_project(path: Path) -> list[FileAnnotation]:
    """Read one cell per region of an image: its point, or the middle of its outline.

    If all points of an image are whole numbers they are pixel indices; otherwise they were marked
    in an enlarged image and are used unchanged.

    Raises:
        UserError: the file is not in this format, or holds a line.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_via_project(document):
            raise ValueError("it lists no project, files, views and regions")
        marked: dict[str, list[Sequence[Any]]] = {}
        for view, name in _pictures(document):
            marked.setdefault(name, [])
            for one in document["metadata"].values():
                if str(one["vid"]) == view and one["xy"]:
                    marked[name].append(one["xy"])
        return [_annotation(name, shapes, path) for name, shapes in marked.items()]


def _pictures(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the id of every view and the name of its one image."""
    found = []
    for view, one in document["view"].items():
        files = [document["file"][str(key)] for key in one["fid_list"]]
        if len(files) != 1 or files[0]["type"] != _PICTURE:
            raise ValueError(f"its view {str(view)[:40]!r} is not of one picture")
        found.append((str(view), str(files[0]["fname"])))
    return found


def _annotation(name: str, shapes: Sequence[Sequence[Any]], path: Path) -> FileAnnotation:
    points, areas = [], []
    for kind, *numbers in shapes:
        at = [finite_number(value) for value in numbers]
        if kind == _POINT:
            points.append((at[0], at[1]))
        elif kind in (_CIRCLE, _ELLIPSE):
            areas.append((at[0], at[1]))
        elif kind == _RECTANGLE:
            areas.append((at[0] + at[2] / 2, at[1] + at[3] / 2))
        elif kind == _POLYGON:
            areas.append(polygon_centroid([list(zip(at[::2], at[1::2], strict=True))]))
        else:
            raise ValueError(f"a region of the kind {str(kind)[:40]} is no cell")
    whole = bool(points) and all(value.is_integer() for place in points for value in place)
    shift = VIA_POINT.shift_px if whole else 0.0
    cells = [(x + shift, y + shift) for x, y in points] + areas
    notes = [*([_WHOLE] if whole else []), *([_AREAS] if areas else [])]
    return FileAnnotation(points_array(cells, path), picture=name, notes=tuple(notes))
