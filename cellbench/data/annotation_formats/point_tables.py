"""Reader of tables: `x y` text, ImageJ's Results.csv and multi-points, napari's points, counts."""

import re
from collections.abc import Sequence
from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    finite_number,
    points_array,
    refuse_slices,
)
from cellbench.data.annotation_formats.table_columns import (
    columns_of,
    has_places,
    picture_column,
)
from cellbench.data.annotation_formats.table_text import (
    PICTURE_COLUMNS,
    Table,
    fields_of,
    numbered_lines,
    parse_table,
)
from cellbench.data.point_conventions import IMAGEJ_AREA, PIXEL_INDICES, TEXT
from cellbench.data.points import PROGRAM_POINTS, WHOLE_NUMBERS
from cellbench.errors import UserError

SUFFIXES = (".txt", ".csv", ".tsv")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DRIVE = re.compile(r"\s*[A-Za-z]:(?=[/\\])")
_COUNT = ("count", "counts", "cells", "cell_count", "number")
_MOST_COUNTED = 10**7
COMMAS = "Decimal commas were read as points."


def read_table(path: Path) -> list[FileAnnotation]:
    """Read a table of points, or of counts if it has columns for images and counts, none for x.

    A column of image names (ImageJ's Label too) assigns each line to its image; a table without
    one is of one image.

    Raises:
        UserError: the file is not text, a line cannot be parsed (the message states which), or
            points lie on several slices of a stack.
    """
    table = parse_table(path)
    notes: tuple[str, ...] = (COMMAS,) if table.commas else ()
    if table.header is not None:
        counts = _counts(table, notes)
        if counts is not None:
            return counts
    columns = columns_of(table)
    pictures: dict[str | None, list[tuple[float, float]]] = {}
    shifts: dict[str | None, list[float]] = {}
    planes: dict[str | None, set[tuple[str, ...]]] = {}
    whole = True
    for at, fields in table.rows:
        x, y = fields[columns.x], fields[columns.y]
        whole = whole and bool(_INTEGER.fullmatch(x) and _INTEGER.fullmatch(y))
        convention = columns.convention
        if columns.area is not None and _number(fields[columns.area], path, at) > 0:
            convention = IMAGEJ_AREA
        name = None if columns.picture is None else _picture(fields[columns.picture], path, at)
        pictures.setdefault(name, []).append((_number(x, path, at), _number(y, path, at)))
        shifts.setdefault(name, []).append(convention.shift_px)
        planes.setdefault(name, set()).add(tuple(fields[at] for at in columns.planes))
    refuse_slices(path, max(map(len, planes.values()), default=0), "points")
    if not pictures and columns.picture is None:
        pictures[None], shifts[None] = [], []
    if columns.convention is TEXT and columns.unit == "px" and whole and table.rows:
        shifts = {name: [PIXEL_INDICES.shift_px] * len(old) for name, old in shifts.items()}
        notes += (WHOLE_NUMBERS,)
    elif any(map(any, shifts.values())):
        notes += (PROGRAM_POINTS.format(program=columns.program),)
    if columns.kind is not None:
        notes += combined_classes_note(
            [fields[columns.kind] for _, fields in table.rows], "classes"
        )
    found = []
    for name, places in pictures.items():
        shift = max(shifts[name], default=0.0)
        moved = [(x + s, y + s) for (x, y), s in zip(places, shifts[name], strict=True)]
        found.append(
            FileAnnotation(
                points_array(moved, path),
                picture=name,
                unit=columns.unit,
                shift_px=shift,
                notes=notes,
            )
        )
    return found


def named_pictures(path: Path) -> list[str]:
    """Return the image names in a table of counts or cells, skipping lines that cannot be parsed.

    Returns:
        Names as written; empty for another file, such as a table of groups.
    """
    try:
        lines, separator = numbered_lines(path)
    except UserError:
        return []
    found: list[str] = []
    column = None
    for at, line in lines:
        try:
            fields = fields_of(line, separator, path, at)
            if at == lines[0][0]:
                column = _name_column([field.casefold() for field in fields])
            elif column is not None and column < len(fields):
                found.append(_picture(fields[column], path, at))
        except UserError:
            continue
    return found


def _name_column(header: Sequence[str]) -> int | None:
    """Return the column of image names beside counts or coordinates; None if there is none."""
    counted = _count_columns(header)
    if counted is not None:
        return counted[0]
    return picture_column(header) if has_places(header) else None


def _count_columns(header: Sequence[str]) -> tuple[int, int] | None:
    """Return the columns of image names and counts; None for a table of something else.

    ImageJ's Summary has the image in its column Slice. CellProfiler's table of images has columns
    such as `FileName_DNA` and `Count_Nuclei`, used if each is the only one of its kind.
    """
    if has_places(header):
        return None
    picture = picture_column(header)
    count = next((header.index(name) for name in _COUNT if name in header), None)
    if picture is None and {"slice", "total area"} <= set(header):
        picture = header.index("slice")
    files, counts = (
        [at for at, name in enumerate(header) if name.startswith(begin)]
        for begin in ("filename_", "count_")
    )
    if picture is None and count is None and len(files) == len(counts) == 1:
        return files[0], counts[0]
    return None if picture is None or count is None else (picture, count)


def _counts(table: Table, notes: tuple[str, ...]) -> list[FileAnnotation] | None:
    """Return the counts of images; None for a table of something else."""
    header = table.header or []
    columns = _count_columns(header)
    if columns is None:
        return None
    if {"region", "area_px"} <= set(header):  # written by `count --roi` and `view`
        raise UserError(
            f"{table.path} has the counts of regions, and not of whole pictures; take it out."
        )
    picture, count = columns
    found = []
    for at, fields in table.rows:
        cells = _cells(fields[count], table.path, at)
        name = _picture(fields[picture], table.path, at)
        found.append(FileAnnotation(None, count=cells, picture=name, notes=notes))
    return found


def _cells(field: str, path: Path, at: int) -> int:
    """Parse a number of cells."""
    try:
        value = finite_number(field)
    except ValueError:
        value = -1.0
    if value != int(value) or not 0 <= value <= _MOST_COUNTED:
        raise UserError(
            f"{path}, line {at}: {field[:40]!r} is no number of cells; write a whole number from 0 "
            f"to {_MOST_COUNTED}, or take the line out."
        )
    return int(value)


def _picture(text: str, path: Path, at: int) -> str:
    """Parse an image name: it ends at a colon (ImageJ's labels), but not at that of a drive."""
    drive = found[0] if (found := _DRIVE.match(text)) else ""
    name = (drive + text[len(drive) :].partition(":")[0]).strip()
    if not name:
        raise UserError(f"{path}, line {at} names no picture; write its file name there.")
    return name


def _number(field: str, path: Path, at: int) -> float:
    try:
        return finite_number(field)
    except ValueError:
        raise UserError(f"{path}, line {at}: {field[:40]!r} is no number; write pixels.") from None


def rows_by_picture(path: Path, column: str) -> list[tuple[str, str]] | None:
    """Read a column of a table together with its column of image names.

    Args:
        path: of a CSV file.
        column: name of the column, in any case.

    Returns:
        (image name, text of the column) for each line; None if either column is missing.

    Raises:
        UserError: the file is not a table.
    """
    table = parse_table(path)
    header: Sequence[str] = table.header or []
    picture = next((name for name in (*PICTURE_COLUMNS, "image_id", "id") if name in header), None)
    if picture is None or column.casefold() not in header:
        return None
    keys, values = header.index(picture), header.index(column.casefold())
    return [(_picture(row[keys], path, at), row[values]) for at, row in table.rows]
