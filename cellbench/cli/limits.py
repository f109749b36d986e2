"""Options for limits of file sizes, and number types for options."""

import math
from collections.abc import Callable
from typing import Any

import click

from cellbench.data.pixel_sizes import EDGES_UM, SCALES
from cellbench.files.limits import ANNOTATION, FILE, PICTURE, POINTS, SIDECAR, Limit


class FiniteRange(click.FloatRange):
    """Option type of a number within a range, without NaN, which `FloatRange` accepts."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return found


EDGE_UM = FiniteRange(*EDGES_UM)
"""Edge of a pixel, micrometres."""
SCALE = FiniteRange(*SCALES)
"""Resampling factor of pictures to count."""


def _option(limit: Limit) -> Callable[..., Any]:
    """Return an option that sets a limit for this process and its child processes."""
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
