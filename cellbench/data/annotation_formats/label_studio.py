"""Reader of Label Studio's tasks in JSON, with coordinates in percent of the image's sides."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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
from cellbench.data.images import is_named_as_picture
from cellbench.errors import UserError

PROGRAM = "Label Studio"

_OUTLINES = "Each box or outline of Label Studio is one cell, at its middle."
# Prefix that Label Studio adds to the name of an uploaded file.
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")


def is_label_studio(document: Any) -> bool:
    """Return whether a JSON document is a list of tasks with annotations."""
    return (
        isinstance(document, list)
        and bool(document)
        and all(
            isinstance(one, Mapping)
            and isinstance(one.get("data"), Mapping)
            and isinstance(one.get("annotations"), list)
            for one in document[:3]
        )
    )


def read_label_studio(path: Path) -> list[FileAnnotation]:
    """Read one cell per keypoint, and per box, ellipse and polygon at its middle.

    Raises:
        UserError: the file is not in this format, an image has annotations of several people or
            is shown rotated, or a mark is no cell.
    """
    document = read_annotation_json(path)
    with explained_parsing(path, PROGRAM):
        if not is_label_studio(document):
            raise ValueError("it has no list of tasks")
        return [one for task in document for one in _task(task, path)]


def uploaded_name(name: str) -> str:
    """Return the name that a file had before its upload to Label Studio."""
    return _UPLOAD.sub("", name)


def _task(task: Mapping[str, Any], path: Path) -> list[FileAnnotation]:
    """Return the annotation of a task; empty if nobody has completed it."""
    links = [v for v in task["data"].values() if isinstance(v, str)]
    names = [unquote(link.split("?")[0]) for link in links]
    picture = next((name for name in names if is_named_as_picture(Path(name))), None)
    if picture is None:
        raise ValueError("a task names no picture")
    done = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if len(done) > 1:
        raise UserError(
            f"{path} has {len(done)} annotations of {picture}; export the one that holds."
        )
    if not done:
        return []
    cells: list[tuple[float, float]] = []
    classes: set[str] = set()
    size: tuple[int, int] | None = None
    outlines = False
    for mark in done[0]["result"]:
        value, kind = mark.get("value"), str(mark.get("type"))
        if not isinstance(value, Mapping) or kind in ("choices", "textarea", "rating"):
            continue
        if mark.get("image_rotation"):
            raise ValueError(f"{picture} is shown turned")
        width, height = side_px(mark["original_width"]), side_px(mark["original_height"])
        size = width, height
        cells.append(_place(kind, value, width / height))
        outlines = outlines or not kind.startswith("keypoint")
        classes.update(str(name)[:40] for name in value.get(kind) or ())
    notes = ((_OUTLINES,) if outlines else ()) + combined_classes_note(sorted(classes), "labels")
    shares = points_array([(x / 100, y / 100) for x, y in cells], path)
    return [FileAnnotation(shares, picture=picture, size=size, unit="share", notes=notes)]


def _place(kind: str, value: Mapping[str, Any], aspect: float) -> tuple[float, float]:
    """Compute the middle of a mark in percent of the sides.

    Args:
        kind: of the mark.
        value: its numbers.
        aspect: width over height of the image: a box is rotated in px, about its first corner.
    """
    if kind.startswith("polygon"):
        return polygon_centroid(
            [[(finite_number(x), finite_number(y)) for x, y in value["points"]]]
        )
    if not kind.startswith(("keypoint", "rectangle", "ellipse")):
        raise ValueError(f"a mark of the kind {kind[:40]!r} is no cell")
    x, y = finite_number(value["x"]), finite_number(value["y"])
    if not kind.startswith("rectangle"):
        return x, y
    right, down = finite_number(value["width"]) / 2, finite_number(value["height"]) / 2
    angle = math.radians(finite_number(value.get("rotation") or 0))
    return (
        x + right * math.cos(angle) - down / aspect * math.sin(angle),
        y + right * aspect * math.sin(angle) + down * math.cos(angle),
    )
