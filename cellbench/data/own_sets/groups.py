"""Groups of images that no split divides, from their folders, their names or a table's column."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from cellbench.data.annotation_formats.point_tables import rows_by_picture
from cellbench.data.own_sets.folder_files import folded_name, shared_stem
from cellbench.errors import UserError

FOLDER = "folder"


def group_pictures(
    group: str, pictures: Sequence[Path], tables: Sequence[Path], root: Path
) -> tuple[dict[Path, str], Path | None]:
    """Assign each image to a group.

    Args:
        group: "folder"; a regular expression with parentheses around the group's name, searched in
            the image's path below the folder; or the name of a column of a table.
        pictures: images of the set.
        tables: CSV files that may have the column.
        root: folder of the images.

    Returns:
        Group names by path; the table that they come from, None for a folder or a pattern.

    Raises:
        UserError: the pattern is invalid or does not match an image; no table has the column; or
            the table gives an image no group or several.
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
    """Assign each image to a group by a pattern of its name.

    Args:
        group: regular expression with one pair of parentheses, around the group's name.
        names: names of the images.

    Returns:
        Group names by image name.

    Raises:
        UserError: the pattern is invalid, or does not match a name.
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
    if not all(found.values()) and not (group.isascii() and all(map(str.isascii, found))):
        # Names copied from a Mac hold umlauts as two characters each, which look like one.
        composed = re.compile(unicodedata.normalize("NFC", group))
        found = {name: composed.search(unicodedata.normalize("NFC", name)) for name in found}
    lost = [name for name, match in found.items() if match is None or not match[1]]
    if lost:
        raise UserError(f"--group {group!r} does not fit {lost[0]}; it has to fit every picture.")
    return {name: match[1] for name, match in found.items() if match is not None}


class _Line:
    """Line of a table of groups: folders and name of an image, and its group."""

    def __init__(self, picture: str, value: str) -> None:
        self.parts, self.value = _parts(picture), value

    def is_below(self, parts: tuple[str, ...]) -> bool:
        """Return whether one path is the end of the other, with at least one folder in common."""
        shared = min(len(self.parts), len(parts))
        return shared > 1 and self.parts[-shared:] == parts[-shared:]


def _parts(name: str) -> tuple[str, ...]:
    return tuple(folded_name(part) for part in re.split(r"[/\\]", name) if part not in ("", "."))


def _by_column(
    rows: Iterable[tuple[str, str]], names: dict[Path, str], table: Path, column: str
) -> dict[Path, str]:
    """Look up the group of each image, by the line with its path, else by that with its name."""
    lines: dict[str, list[_Line]] = {}
    for line in (_Line(*row) for row in rows):
        lines.setdefault(shared_stem(line.parts[-1] if line.parts else ""), []).append(line)
    by_path: dict[Path, list[_Line]] = {}
    for path, name in names.items():
        parts, alike = _parts(name), lines.get(shared_stem(path.name), [])
        whole = [line for line in alike if line.parts == parts]
        by_path[path] = whole or [line for line in alike if line.is_below(parts)]
    # A line with folders that matches one image is not used for others of the same name.
    taken = {id(line) for own in by_path.values() for line in own if len(line.parts) > 1}
    found = {}
    for path, name in names.items():
        alike = [line for line in lines.get(shared_stem(path.name), []) if id(line) not in taken]
        exact = [line for line in alike if line.parts[-1:] == _parts(path.name)[-1:]]
        values = {line.value: None for line in by_path[path] or exact or alike if line.value}
        if not values:
            raise UserError(f"{table} has no {column} of {name}; add a line for each picture.")
        if len(values) > 1:
            first, second, *_ = values
            raise UserError(
                f"{table} has {column} {first} and {second} for {name}; write one line for each "
                "picture, with its folder where two pictures have one name."
            )
        found[path] = next(iter(values))
    return found
