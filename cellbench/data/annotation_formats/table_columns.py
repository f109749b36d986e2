"""Columns of a table that hold the positions of cells, and their unit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import Unit
from cellbench.data.annotation_formats.table_text import PICTURE_COLUMNS, Table
from cellbench.data.point_conventions import (
    ILASTIK,
    IMAGEJ_POINT,
    NAPARI,
    REGION_PROPERTIES,
    TEXT,
    PointConvention,
)
from cellbench.errors import UserError

# Columns that ImageJ writes beside X and Y, and plain tables of coordinates do not.
_IMAGEJ = {"area", "counter", "ctr", "mean", "slice", "ch", "frame", "count", "bx", "by"}
_PLANES = ("slice", "frame")
_KINDS = ("classification", "class", "predicted class", "counter")
# QuPath's measurements and others have `Centroid X µm`.
_LENGTH = re.compile(r"(?:centroid )?([xy])[ _]?[(\[]?(?:um|µm|μm|micron|microns)[)\]]?")
_PIXELS = re.compile(r"(?:centroid )?([xy])[ _][(\[]?px[)\]]?")
# Programs with column names of their own, their point convention, and the column of a 3rd axis.
_PROGRAMS = (
    ("napari", NAPARI, "axis-2"),
    ("scikit-image", REGION_PROPERTIES, "centroid-2"),
    ("ilastik", ILASTIK, "center of the object_2"),
)
_REFUSED = {
    "vertex-index": "has the corners of napari's shapes; save a layer of points, or of labels as a "
    "mask picture.",
    "region_shape_attributes": "is VIA's table; export the annotations as JSON.",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Roles of the columns of a table of points.

    Attributes:
        x: index of the column.
        y: likewise.
        convention: of the positions.
        program: that writes such columns, for messages; empty where many do.
        unit: of the positions.
        area: column with the area of a selection, which is a point where it is 0.
        picture: column with the image's name; None if the file is of one image.
        planes: columns with the slices of a stack.
        kind: column with the class of each cell.
    """

    x: int
    y: int
    convention: PointConvention
    program: str
    unit: Unit
    area: int | None = None
    picture: int | None = None
    planes: tuple[int, ...] = ()
    kind: int | None = None


def columns_of(table: Table) -> Columns:
    """Select the columns of a table that describe a cell.

    Raises:
        UserError: the header names no x and y, or more than one, or it is a table of outlines.
    """
    header, path = table.header, table.path
    if header is None:
        return Columns(0, 1, TEXT, "", "px")
    for column, reason in _REFUSED.items():
        if column in header:
            raise UserError(f"{path} {reason}")
    picture = picture_column(header)
    kind = next((header.index(name) for name in _KINDS if name in header), None)
    for program, convention, depth in _PROGRAMS:
        if {convention.x, convention.y} <= set(header):
            if depth in header:
                raise _stack_error(path, depth)
            at = (header.index(convention.x), header.index(convention.y))
            # scikit-image's `label` is the number of an object, not an image name.
            has_names = picture is not None and header[picture] != "label"
            return Columns(
                *at, convention, program, "px", picture=picture if has_names else None, kind=kind
            )
    if "axis-2" in header:
        raise _stack_error(path, "axis-2")
    names = [found[1] if (found := _PIXELS.fullmatch(name)) else name for name in header]
    lengths = [found[1] if (found := _LENGTH.fullmatch(name)) else name for name in header]
    if names.count("x") == 1 and names.count("y") == 1:
        at = (names.index("x"), names.index("y"))
        if not _is_imagej(table, names):
            return Columns(*at, TEXT, "", "px", picture=picture, kind=kind)
        return Columns(
            *at,
            IMAGEJ_POINT,
            "ImageJ",
            "px or um",
            names.index("area") if "area" in names else None,
            picture if _names_pictures(table, picture) else None,
            tuple(names.index(name) for name in _PLANES if name in names),
            kind,
        )
    if lengths.count("x") == 1 and lengths.count("y") == 1:
        at = (lengths.index("x"), lengths.index("y"))
        return Columns(*at, TEXT, "", "um", picture=picture, kind=kind)
    raise UserError(
        f"{path}: the header names {', '.join(header)[:100]}; it must name one column x and one y, "
        "or image and count for counts without places."
    )


def has_places(header: Sequence[str]) -> bool:
    """Return whether a header has a column of coordinates."""
    known = {"x", *(convention.x for _, convention, _ in _PROGRAMS)}
    return any(
        name in known or _PIXELS.fullmatch(name) or _LENGTH.fullmatch(name) for name in header
    )


def picture_column(header: Sequence[str]) -> int | None:
    """Return the column of image names; None if there is none."""
    return next((header.index(name) for name in PICTURE_COLUMNS if name in header), None)


def _is_imagej(table: Table, names: Sequence[str]) -> bool:
    """Return whether ImageJ wrote a table: it numbers rows from 1, pandas from 0."""
    if _IMAGEJ & set(names):
        return True
    return names[0] == "" and not (table.rows and table.rows[0][1][0] == "0")


def _names_pictures(table: Table, column: int | None) -> bool:
    """Return whether ImageJ's Label names images: it may name selections or kinds of cells too."""
    if column is None or table.header is None:
        return False
    return all("." in fields[column] for _, fields in table.rows)


def _stack_error(path: Path, column: str) -> UserError:
    return UserError(
        f"{path} has the points of a stack ({column}); save the plane that is counted as a "
        "picture of its own, with its own points."
    )
