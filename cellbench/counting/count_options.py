"""Whether what is given to `cellbench.count` can be used, before anything is read or written."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from cellbench.config.schema import shown
from cellbench.counting.point_exports import WRITERS
from cellbench.errors import UserError


def check_number(option: str, value: Any, ends: tuple[float, float]) -> float:
    """A number between two ends.

    Args:
        option: that gave it, such as "--scale".
        value: of any type.
        ends: the least and the greatest.

    Raises:
        UserError: it is no number, not finite, or beyond the ends.
    """
    if _is_number(value) and ends[0] <= value <= ends[1]:
        return float(value)
    raise UserError(
        f"{option}: a number of at least {ends[0]:g} and at most {ends[1]:g} is wanted here, not "
        f"{shown(value)}."
    )


def check_range(value: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None.

    Raises:
        UserError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        ends = list(value)
        if len(ends) == 2 and all(_is_number(end) and math.isfinite(end) for end in ends):
            return float(ends[0]), float(ends[1])
    raise UserError(f"--range: two finite numbers are wanted here, not {shown(value)}.")


def check_text(option: str, value: Any) -> None:
    """A text or path that is not empty.

    Raises:
        UserError: it is empty, or no text.
    """
    if not isinstance(value, str | Path):
        raise UserError(f"{option}: text is wanted here, not {shown(value)}.")
    if value == "":
        raise UserError(
            f"{option} is empty, as a variable of the shell is that was not set; give a value."
        )


def check_programs(value: Any) -> Sequence[str]:
    """Names of programs that points are written for.

    Raises:
        UserError: one is not known.
    """
    named = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    for one in named:
        if not isinstance(one, str) or one not in WRITERS:
            raise UserError(f"--also: {shown(one)} is none of {', '.join(WRITERS)}; name these.")
    return named


def check_pictures(value: Any) -> list[str | Path]:
    """Files and folders as a list.

    Raises:
        UserError: one is no path, or empty.
    """
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise UserError(
            f"A path of a picture or a folder, or a list of them, is wanted, not {shown(value)}."
        )
    paths = list(value)
    for path in paths:
        check_text("PICTURE", path)
    return paths


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
