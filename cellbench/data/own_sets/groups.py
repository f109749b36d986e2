"""Groups of pictures that no split divides: by a pattern of their names, or a column of a table."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cellbench.data.annotation_formats.point_tables import rows_by_picture
from cellbench.data.own_sets.folder_files import shared_stem
from cellbench.errors import UserError

FOLDER = "folder"


def group_pictures(
    group: str, pictures: Sequence[Path], tables: Sequence[Path], root: Path
) -> tuple[dict[Path, str], Path | None]:
    """The group of each picture.

    Args:
        group: "folder"; a regular expression with parentheses around the group, looked for in the
            picture's path below the folder; or the name of a column of a table.
        pictures: of the set.
        tables: CSV files in which the column may be.
        root: folder of the pictures.

    Returns:
        The groups; the table that has them.

    Raises:
        UserError: the pattern is none or does not fit a picture, or no table has such a column.
    """
    names = {path: path.relative_to(root).as_posix() for path in pictures}
    if group == FOLDER:
        return {path: Path(name).parent.as_posix() for path, name in names.items()}, None
    if "(" in group:
        found = groups_by_pattern(group, names.values())
        return {path: found[name] for path, name in names.items()}, None
    for table in tables:
        try:
            rows = rows_by_picture(table, group)
        except UserError:
            continue
        if rows is not None:
            return _by_column(rows, names, table, group), table
    raise UserError(
        f"--group {group!r} is no pattern with parentheses, such as '(mouse[0-9]+)_', and no table "
        "in the folder has a column of that name beside one called image."
    )


def groups_by_pattern(group: str, names: Iterable[str]) -> dict[str, str]:
    """The group of every picture, by a pattern of its name.

    Args:
        group: a regular expression with parentheses around what names the group.
        names: of the pictures.

    Raises:
        UserError: the pattern is none, or does not fit a picture.
    """
    try:
        pattern = re.compile(group)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"--group {group!r} is no regular expression ({error}).") from None
    if pattern.groups != 1:
        raise UserError(
            f"--group {group!r} has {pattern.groups} pairs of parentheses; it has one, around what "
            "names the group, such as '(control|drug)_'."
        )
    found = {name: pattern.search(name) for name in names}
    lost = [name for name, match in found.items() if match is None or not match[1]]
    if lost:
        raise UserError(f"--group {group!r} does not fit {lost[0]}; it has to fit every picture.")
    return {name: match[1] for name, match in found.items() if match is not None}


def _by_column(
    rows: dict[str, str], names: dict[Path, str], table: Path, column: str
) -> dict[Path, str]:
    known = {Path(key).name.casefold(): value for key, value in rows.items()}
    known |= {shared_stem(Path(key).name): value for key, value in rows.items()}
    found = {}
    for path, name in names.items():
        value = known.get(path.name.casefold()) or known.get(shared_stem(path.name))
        if not value:
            raise UserError(f"{table} has no {column} of {name}; add a line for each picture.")
        found[path] = value
    return found
