"""Options that raise the limits of what is read from outside."""

from collections.abc import Callable
from typing import Any

import click

from cellbench.files.limits import ANNOTATION, FILE, PICTURE, POINTS, SIDECAR, Limit


def _option(limit: Limit) -> Callable[..., Any]:
    """An option that sets a limit for this process and those that it starts."""
    return click.option(
        limit.option,
        type=click.IntRange(1, 999_999_999),
        metavar="MB",
        expose_value=False,
        callback=lambda context, parameter, megabytes: limit.set(megabytes),
        help=f"Limit of the {limit.what}, megabytes.  [default: {limit.default_mb}]",
    )


max_picture = _option(PICTURE)
max_file = _option(FILE)
max_points = _option(POINTS)
max_sidecar = _option(SIDECAR)
max_annotation = _option(ANNOTATION)
