"""Matching of pictures that were renamed or moved since they were counted, by file content."""

from collections.abc import Callable, Iterable
from pathlib import Path

Known = tuple[str, str]
"""Name of a picture, and the SHA-256 of its file."""


def moved_names(
    gone: Iterable[Known], new: Iterable[Known], *, stayed: Callable[[str], bool]
) -> dict[Known, str]:
    """Match pictures that are not given under their old names with new names.

    Several pictures may have the same content (copies, blank fields). Of these, the same file (a
    link or another spelling of its path) is preferred, then one with the same file name, then any.

    Args:
        gone: pictures that are not given under their old names, each as (name, SHA-256).
        new: given pictures with names that were not known before.
        stayed: whether a picture still exists under its old name. Others of the same content are
            then copies, unless they are the same file.

    Returns:
        New names by old picture; each new name is used once.
    """
    unclaimed: dict[str, list[str]] = {}
    for fresh, sha256 in new:
        unclaimed.setdefault(sha256, []).append(fresh)
    rounds: tuple[Callable[[str, str], bool], ...] = (
        _is_same_file,
        lambda old, name: not stayed(old) and Path(old).name == Path(name).name,
        lambda old, name: not stayed(old),
    )
    lost, found = list(gone), dict[Known, str]()
    for fits in rounds:
        for old, sha256 in lost:
            names = unclaimed.get(sha256, [])
            name = next((n for n in names if fits(old, n)), None)
            if name is not None and (old, sha256) not in found:
                found[old, sha256] = name
                names.remove(name)
    return found


def _is_same_file(old: str, name: str) -> bool:
    one, other = Path(old), Path(name)
    return one.exists() and other.exists() and one.samefile(other)
