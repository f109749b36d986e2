"""Tables of cells: `x y` text, ImageJ's Results.csv and multi-points, napari's points, counts."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    Unit,
    number,
    points_array,
    read_annotation_bytes,
    refuse_slices,
)
from cellbench.data.point_conventions import (
    IMAGEJ_AREA,
    IMAGEJ_POINT,
    NAPARI,
    PIXEL_INDICES,
    TEXT,
    PointConvention,
)
from cellbench.data.points import PROGRAM_POINTS, WHOLE_NUMBERS
from cellbench.errors import UserError

SUFFIXES = (".txt", ".csv", ".tsv")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DRIVE = re.compile(r"\s*[A-Za-z]:(?=[/\\])")
_REMARK = re.compile(r"\s+#.*")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
# Columns that ImageJ writes beside X and Y, and plain tables of coordinates do not.
_IMAGEJ = {"area", "counter", "ctr", "mean", "slice", "ch", "frame", "count", "bx", "by"}
_PLANES = ("slice", "frame")
_PICTURE = ("image", "picture", "filename", "file_name", "file", "image_name", "label")
_COUNT = ("count", "counts", "cells", "cell_count", "number")
_MOST_COUNTED = 10**7
_MICROMETRES = re.compile(r"^([xy])[ _]?[(\[]?(?:um|µm|μm|micron|microns)[)\]]?$")
COMMAS = "Decimal commas were read as points."


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it is written: its header in lower case, None without one, and numbered rows."""

    path: Path
    header: list[str] | None
    rows: list[tuple[int, list[str]]]
    commas: bool


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the columns of a table of points are."""

    x: int
    y: int
    convention: PointConvention
    program: str
    unit: Unit
    area: int | None = None
    picture: int | None = None
    planes: tuple[int, ...] = ()


def read_table(path: Path) -> list[FileAnnotation]:
    """Read a table of points, or of counts where it has a column for pictures and none for x.

    A table with a column that names pictures (ImageJ's Label too) is of them all; one without is
    of one picture.

    Raises:
        UserError: it is no text, a line does not fit, which is named, or it has points on several
            slices of a stack.
    """
    table = _parsed(path)
    notes: tuple[str, ...] = (COMMAS,) if table.commas else ()
    if table.header is not None:
        counts = _counts(table, notes)
        if counts is not None:
            return counts
    columns = _columns(table)
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
        shifts = {name: [PIXEL_INDICES.shift_px] * len(own) for name, own in shifts.items()}
        notes += (WHOLE_NUMBERS,)
    elif any(any(own) for own in shifts.values()):
        notes += (PROGRAM_POINTS.format(program=columns.program),)
    found = []
    for name, places in pictures.items():
        own = max(shifts[name], default=0.0)
        moved = [(x + s, y + s) for (x, y), s in zip(places, shifts[name], strict=True)]
        found.append(
            FileAnnotation(
                points_array(moved, path),
                picture=name,
                unit=columns.unit,
                shift_px=own,
                notes=notes,
            )
        )
    return found


def named_pictures(path: Path) -> list[str]:
    """The pictures that a table of counts or of cells names, also where a line of it does not fit.

    Returns:
        Names as they are written; none for another file, such as a table of groups.
    """
    try:
        lines, separator = _lines(path)
    except UserError:
        return []
    found: list[str] = []
    column = None
    for at, line in lines:
        try:
            fields = _fields(line, separator, path, at)
            if at == lines[0][0]:
                column = _picture_column([field.casefold() for field in fields])
            elif column is not None and column < len(fields):
                found.append(_picture(fields[column], path, at))
        except UserError:
            continue
    return found


def _picture_column(header: Sequence[str]) -> int | None:
    """The column that names pictures beside counts or places; None where there is none."""
    beside = {*_COUNT, "x", "x_px", "x (px)", NAPARI.x} & set(header)
    if not beside and not any(map(_MICROMETRES.match, header)):
        return None
    return next((header.index(name) for name in _PICTURE if name in header), None)


def _lines(path: Path) -> tuple[list[tuple[int, str]], str | None]:
    """The numbered lines of a table that hold something, and what separates its fields."""
    data = read_annotation_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data:
            raise UserError(f"{path} is no text; write one cell a line in UTF-8.") from None
        text = data.decode("latin-1")  # a micrometre in the header of an older program
    written = [
        (at, line.strip(" "))
        for at, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    lines = [(at, _REMARK.sub("", line).strip(" ")) for at, line in written]
    separator = next((sign for sign in "\t;," if lines and sign in lines[0][1]), None)
    # In a table of pictures a # may be of a name, such as `well #3.png`.
    heads = (
        {head.strip(" '\"").casefold() for head in lines[0][1].split(separator)} if lines else ()
    )
    return (written if separator and set(_PICTURE) & set(heads) else lines), separator


def _parsed(path: Path) -> _Table:
    lines, separator = _lines(path)
    if not lines:
        return _Table(path, None, [], False)
    rows: list[tuple[int, list[str]]] = []
    commas = False
    for at, line in lines:
        fields = _fields(line, separator, path, at)
        if separator != ",":
            with_points = [
                f.replace(",", ".") if _DECIMAL_COMMA.fullmatch(f) else f for f in fields
            ]
            commas = commas or with_points != fields
            fields = with_points
        rows.append((at, fields))
    header = None
    if len(rows[0][1]) >= 2 and not any(map(_is_number, rows[0][1])):
        header = [field.casefold() for field in rows.pop(0)[1]]
    wanted = 2 if header is None else len(header)
    for at, fields in rows:
        if len(fields) != wanted:
            raise UserError(
                f"{path}, line {at}: it has {len(fields)} fields and not {wanted}; write "
                f"{'x and y' if header is None else 'a field for each column'}."
            )
    return _Table(path, header, rows, commas)


def _fields(line: str, separator: str | None, path: Path, at: int) -> list[str]:
    if separator is None:
        return line.split()
    try:
        (row,) = csv.reader([line], delimiter=separator, skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}, line {at} cannot be read ({error}); see its quotes.") from None
    return [field.strip(" '\"") for field in row]


def _columns(table: _Table) -> _Columns:
    """Which columns hold a cell.

    Raises:
        UserError: the header names no x and y, or more than one.
    """
    header, path = table.header, table.path
    if header is None:
        return _Columns(0, 1, TEXT, "", "px")
    picture = next((header.index(name) for name in _PICTURE if name in header), None)
    if "vertex-index" in header:
        raise UserError(
            f"{path} has the corners of napari's shapes; save a layer of points, or of labels as a "
            "mask picture."
        )
    if "axis-2" in header:
        raise UserError(
            f"{path} has the points of a stack (axis-2); save the plane that is counted as a "
            "picture of its own, with its own points."
        )
    if {NAPARI.x, NAPARI.y} <= set(header):
        at = (header.index(NAPARI.x), header.index(NAPARI.y))
        return _Columns(*at, NAPARI, "napari", "px", picture=picture)
    plain = {"x_px": "x", "y_px": "y", "x (px)": "x", "y (px)": "y"}
    names = [plain.get(name, name) for name in header]
    lengths = [found[1] if (found := _MICROMETRES.match(name)) else name for name in header]
    if names.count("x") == 1 and names.count("y") == 1:
        imagej = bool(_IMAGEJ & set(names)) or names[0] == ""
        area = names.index("area") if "area" in names else None
        label = picture if not imagej or _names_pictures(table, picture) else None
        return _Columns(
            names.index("x"),
            names.index("y"),
            IMAGEJ_POINT if imagej else TEXT,
            "ImageJ",
            "px or um" if imagej else "px",
            area,
            label,
            tuple(names.index(name) for name in _PLANES if imagej and name in names),
        )
    if lengths.count("x") == 1 and lengths.count("y") == 1:
        return _Columns(lengths.index("x"), lengths.index("y"), TEXT, "", "um", picture=picture)
    raise UserError(
        f"{path}: the header names {', '.join(header)[:100]}; it must name one column x and one y."
    )


def _names_pictures(table: _Table, column: int | None) -> bool:
    """Whether ImageJ's Label names pictures: it may name selections or kinds of cells too."""
    if column is None or table.header is None:
        return False
    return all("." in fields[column] for _, fields in table.rows)


def _counts(table: _Table, notes: tuple[str, ...]) -> list[FileAnnotation] | None:
    """The counts of pictures; None where the table is of something else."""
    header = table.header or []
    picture = next((header.index(name) for name in _PICTURE if name in header), None)
    count = next((header.index(name) for name in _COUNT if name in header), None)
    if picture is None or count is None or {"x", "x_px", NAPARI.x} & set(header):
        return None
    found = []
    for at, fields in table.rows:
        cells = _cells(fields[count], table.path, at)
        name = _picture(fields[picture], table.path, at)
        found.append(FileAnnotation(None, count=cells, picture=name, notes=notes))
    return found


def _cells(field: str, path: Path, at: int) -> int:
    """A number of cells."""
    try:
        value = number(field)
    except ValueError:
        value = -1.0
    if value != int(value) or not 0 <= value <= _MOST_COUNTED:
        raise UserError(
            f"{path}, line {at}: {field[:40]!r} is no number of cells; write a whole number from 0 "
            f"to {_MOST_COUNTED}, or take the line out."
        )
    return int(value)


def _picture(text: str, path: Path, at: int) -> str:
    """The picture that a field names: ImageJ's labels go on after a colon, a drive before one."""
    drive = found[0] if (found := _DRIVE.match(text)) else ""
    name = (drive + text[len(drive) :].partition(":")[0]).strip()
    if not name:
        raise UserError(f"{path}, line {at} names no picture; write its file name there.")
    return name


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _number(field: str, path: Path, at: int) -> float:
    try:
        return number(field)
    except ValueError:
        raise UserError(f"{path}, line {at}: {field[:40]!r} is no number; write pixels.") from None


def rows_by_picture(path: Path, column: str) -> list[tuple[str, str]] | None:
    """A column of a table that has one for pictures.

    Args:
        path: of a CSV file.
        column: its name, in any case.

    Returns:
        Name of the picture and text of the column, line by line; None where the table lacks the one
        or the other.

    Raises:
        UserError: it is no table.
    """
    table = _parsed(path)
    header: Sequence[str] = table.header or []
    picture = next((name for name in (*_PICTURE, "image_id", "id") if name in header), None)
    if picture is None or column.casefold() not in header:
        return None
    keys, values = header.index(picture), header.index(column.casefold())
    return [(_picture(row[keys], path, at), row[values]) for at, row in table.rows]
