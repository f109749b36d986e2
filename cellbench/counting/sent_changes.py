"""Validation of the changes that the viewer's page sends."""

from typing import Any

from cellbench.counting.corrections import ADDED, CHECKED, REMOVED
from cellbench.errors import UserError

_MOST_CHANGES = 200_000
# How far outside its picture a cell of the table may lie, px.
_OVER_PX = 2**20


def changes_of(sent: Any, size: tuple[int, int]) -> list[tuple[str, float, float]]:
    """Validate changes, and return kind, x and y of each.

    Args:
        sent: changes of one action, parsed from JSON.
        size: (width, height) of the picture, px.

    Raises:
        UserError: they are no valid changes, or outside the picture.
    """
    if not isinstance(sent, list) or len(sent) > _MOST_CHANGES:
        raise UserError(f"One action takes a list of up to {_MOST_CHANGES} changes.")
    found = []
    width, height = size
    for each in sent:
        match each:
            case [str(kind), int() | float() as x, int() | float() as y] if kind in (
                ADDED,
                REMOVED,
            ):
                # A method may place a cell outside the picture; it can be removed like others.
                over = 0 if kind == ADDED else _OVER_PX
                if not (-over <= x <= width + over and -over <= y <= height + over):
                    raise UserError(f"The place {x}, {y} is outside the picture.")
                found.append((kind, float(x), float(y)))
            case [str(kind), *_] if kind == CHECKED:
                found.append((CHECKED, 0.0, 0.0))
            case _:
                raise UserError("A change is one of added, removed and checked, with x and y.")
    return found
