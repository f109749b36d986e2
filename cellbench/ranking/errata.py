"""Errata: known faults of sets and records, written by hand in `leaderboards/errata.md`."""

import re
from pathlib import Path

from cellbench.files.reading import read_file

FILE = "errata.md"
ALL_SETS = "all sets"
MAX_BYTES = 2**20


def read_errata(store: Path) -> dict[str, str]:
    """Read the errata: Markdown by set, in the order of the file.

    Args:
        store: see `cellbench.paths.store`.

    Returns:
        The text under every second-level heading, by heading in lower case, `all sets` among them;
        empty if there is no such file.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    path = store / "leaderboards" / FILE
    if not path.exists():
        return {}
    text = read_file(path, most=MAX_BYTES).decode("utf-8", "replace")
    parts = re.split(r"^## +(.+?)\s*$", text, flags=re.MULTILINE)
    return {
        name.casefold(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
