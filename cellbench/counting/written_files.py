"""Recognition of files that `cellbench count` and `cellbench view` wrote, by their names."""

import re
from pathlib import Path

from cellbench.counting.count_tables import COUNTS, METHOD, POINTS, SKIPPED
from cellbench.counting.point_exports import WRITERS
from cellbench.counting.unpacked_stacks import PLANES

_TABLES = re.compile(
    "|".join(map(re.escape, (COUNTS, POINTS, METHOD, SKIPPED)))
    + r"|(estimates|regions|useful)\.csv|regions\.json|counts\.xlsx|lock"
    + r"|((counts|regions)-)?corrected(-[\w-]+)?\.csv"
)
# Names end with the first digits of the picture's hash, see `Exporter.files`.
_HASHED = r".*-[0-9a-f]{8}"
_EXPORTS = {
    kind: re.compile(_HASHED + re.escape(end), re.DOTALL)
    for kind, end in {
        "pictures": ".png",
        PLANES: ".tif",
        **{k: v[0] for k, v in WRITERS.items()},
    }.items()
}


def is_counted(folder: Path) -> bool:
    """Return whether a folder has the tables of `cellbench count`."""
    return (folder / METHOD).is_file() and (folder / COUNTS).is_file()


def is_table(path: Path) -> bool:
    """Return whether a file has the name of one that is written into a counted folder."""
    return _TABLES.fullmatch(path.name) is not None


def is_export(path: Path, folder: Path) -> bool:
    """Return whether a file in a subfolder has the name of an export or an unpacked plane.

    Args:
        path: path of the file.
        folder: its folder, such as `counts/pictures`.
    """
    form = _EXPORTS.get(folder.name)
    return form is not None and form.fullmatch(path.name) is not None


def only_written(folder: Path, *, within_counted: bool = False) -> bool:
    """Return whether a folder holds only files that were written by a count; True if empty.

    Args:
        folder: any folder.
        within_counted: whether its parent is a counted folder.
    """
    counted = is_counted(folder)
    try:
        return all(
            (path.is_dir() and path.name in _EXPORTS and only_written(path, within_counted=True))
            or (path.is_file() and is_table(path))
            if counted
            else within_counted and is_export(path, folder)
            for path in folder.iterdir()
            if not path.name.startswith(".")
        )
    except OSError:
        return False
