"""Error message for an unknown data set."""

from collections.abc import Sequence
from difflib import get_close_matches


def unknown_set(name: str, known: Sequence[str]) -> str:
    """Return the error message for an unknown data set, which suggests a name and an import.

    Args:
        name: given by the user.
        known: names of all sets, published, simulated and the user's own.
    """
    near = get_close_matches(name.casefold(), known, n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    new = "NAME" if "-sim" in name else name
    return (
        f"There is no data set {name!r} ({hint}); `cellbench data import {new} --own --from DIR` "
        "makes one of your own pictures."
    )
