"""Pictures that went to another name or folder since they were counted, known by their content."""

from collections.abc import Callable, Iterable
from pathlib import Path

Known = tuple[str, str]
"""Name of a picture, and the SHA-256 of its file."""


def moved_names(
    gone: Iterable[Known], new: Iterable[Known], *, stayed: Callable[[str], bool]
) -> dict[Known, str]:
    """Which new name each picture has got.

    Several pictures may have the same content (copies, blank fields): of these the one that is the
    very same file comes first, then the one with the file name of before, then any.

    Args:
        gone: pictures that are not at hand under their old names.
        new: pictures that are at hand under names that they did not have.
        stayed: whether a picture is still there under its old name: others of its content are
            copies then.

    Returns:
        New names by old pictures; each new name is given once.
    """
    left: dict[str, list[str]] = {}
    for fresh, sha256 in new:
        left.setdefault(sha256, []).append(fresh)
    rounds: tuple[Callable[[str, str], bool], ...] = (
        _is_same_file,
        lambda old, name: not stayed(old) and Path(old).name == Path(name).name,
        lambda old, name: not stayed(old),
    )
    lost, found = list(gone), dict[Known, str]()
    for fits in rounds:
        for old, sha256 in lost:
            names = left.get(sha256, [])
            name = next((n for n in names if fits(old, n)), None)
            if name is not None and (old, sha256) not in found:
                found[old, sha256] = name
                names.remove(name)
    return found


def _is_same_file(old: str, name: str) -> bool:
    one, other = Path(old), Path(name)
    return one.exists() and other.exists() and one.samefile(other)
