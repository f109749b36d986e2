"""Validation of the arguments of `cellbench.count`."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from cellbench.config.schema import shown
from cellbench.counting.point_exports import WRITERS
from cellbench.errors import UserError


def check_number(option: str, value: Any, ends: tuple[float, float]) -> float:
    """Validate a number and return it as a float.

    Args:
        option: name for messages, such as "--scale".
        value: value of any type.
        ends: least and greatest allowed value.

    Raises:
        UserError: it is no number, not finite, or out of range.
    """
    if _is_number(value) and ends[0] <= value <= ends[1]:
        return float(value)
    raise UserError(
        f"{option}: a number of at least {ends[0]:g} and at most {ends[1]:g} is wanted here, not "
        f"{shown(value)}."
    )


def check_range(value: Any) -> tuple[float, float] | None:
    """Validate an intensity range and return it: two finite numbers, or None.

    Raises:
        UserError: it is anything else.
    """
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        ends = list(value)
        if len(ends) == 2 and all(_is_number(end) and math.isfinite(end) for end in ends):
            return float(ends[0]), float(ends[1])
    raise UserError(f"--range: two finite numbers are wanted here, not {shown(value)}.")


def check_text(option: str, value: Any) -> None:
    """Check that a value is a non-empty text or path.

    Raises:
        UserError: it is neither, or empty.
    """
    if not isinstance(value, str | Path):
        raise UserError(f"{option}: text is wanted here, not {shown(value)}.")
    if value == "":
        raise UserError(
            f"{option} is empty, as a variable of the shell is that was not set; give a value."
        )


def check_programs(value: Any) -> Sequence[str]:
    """Validate the names of programs to export points for, and return them as a sequence.

    Raises:
        UserError: one is unknown.
    """
    named = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    for one in named:
        if not isinstance(one, str) or one not in WRITERS:
            raise UserError(f"--also: {shown(one)} is none of {', '.join(WRITERS)}; name these.")
    return named


def check_pictures(value: Any) -> list[str | Path]:
    """Validate paths of pictures and folders, and return them as a list.

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
