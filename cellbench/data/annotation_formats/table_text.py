"""Lines and fields of text tables, as programs and spreadsheets write them."""

import codecs
import csv
import re
from dataclasses import dataclass
from pathlib import Path

from cellbench.data.annotation_formats.file_annotation import read_annotation_bytes
from cellbench.errors import UserError

PICTURE_COLUMNS = ("image", "picture", "filename", "file_name", "file", "image_name", "label")
"""Names of columns that hold image names, the surest first."""

_REMARK = re.compile(r"\s+#.*")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
# Line by which spreadsheets state their field separator.
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """Text table: its header in lower case (None without one) and its numbered rows.

    `commas` states whether decimal commas were replaced by points.
    """

    path: Path
    header: list[str] | None
    rows: list[tuple[int, list[str]]]
    commas: bool


def numbered_lines(path: Path) -> tuple[list[tuple[int, str]], str | None]:
    """Return the non-empty lines of a table, numbered, and its separator (None: white space).

    Raises:
        UserError: the file is not text.
    """
    written = [
        (at, line.strip(" "))
        for at, line in enumerate(_text(path).splitlines(), start=1)
        if line.strip(' ,;\t"') and not line.lstrip().startswith("#")
    ]
    separator = None
    if written and (stated := _SEPARATOR.fullmatch(written[0][1])):
        separator, written = stated[1], written[1:]
    lines = [(at, _REMARK.sub("", line).strip(" ")) for at, line in written]
    separator = separator or next((sign for sign in "\t;," if lines and sign in lines[0][1]), None)
    # In a table with image names a # may belong to one, such as `well #3.png`.
    heads = (
        {head.strip(" '\"").casefold() for head in lines[0][1].split(separator)} if lines else ()
    )
    has_names = separator and set(PICTURE_COLUMNS) & set(heads)
    return (written if has_names else lines), separator


def _text(path: Path) -> str:
    data = read_annotation_bytes(path)
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")  # "Unicode text" of Excel
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data:
            raise UserError(f"{path} is no text; write one cell a line in UTF-8.") from None
        return data.decode("latin-1")  # such as the micro sign in an older program's header


def parse_table(path: Path) -> Table:
    """Parse the header and rows of a table; empty columns at its right are dropped.

    Raises:
        UserError: the file is not text, or a line has not as many fields as the header.
    """
    lines, separator = numbered_lines(path)
    if not lines:
        return Table(path, None, [], False)
    rows: list[tuple[int, list[str]]] = []
    commas = False
    for at, line in lines:
        fields = fields_of(line, separator, path, at)
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
        while len(header) > 2 and not header[-1]:
            header.pop()
    wanted = 2 if header is None else len(header)
    for at, fields in rows:
        if header is not None:
            while len(fields) > wanted and not fields[-1]:
                fields.pop()
        if len(fields) != wanted:
            halved = separator == "," and len(fields) > wanted  # perhaps at decimal commas
            raise UserError(
                f"{path}, line {at}: it has {len(fields)} fields and not {wanted}; write "
                f"{'x and y' if header is None else 'a field for each column'}"
                + ("; numbers with decimal commas need semicolons between them." if halved else ".")
            )
    return Table(path, header, rows, commas)


def fields_of(line: str, separator: str | None, path: Path, at: int) -> list[str]:
    """Split a line into fields.

    Raises:
        UserError: its quotes cannot be parsed.
    """
    if separator is None:
        return line.split()
    try:
        (row,) = csv.reader([line], delimiter=separator, skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}, line {at} cannot be read ({error}); see its quotes.") from None
    return [field.strip(" '\"") for field in row]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
