"""Limits of what is read from outside, as options, and of the numbers that options take."""

import math
from collections.abc import Callable
from typing import Any

import click

from cellbench.data.pixel_sizes import EDGES_UM, SCALES
from cellbench.files.limits import ANNOTATION, FILE, PICTURE, POINTS, SIDECAR, Limit


class FiniteRange(click.FloatRange):
    """A number between two ends; NaN, which is beyond neither, is refused too."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return found


EDGE_UM = FiniteRange(*EDGES_UM)
"""The edge of a pixel, micrometres."""
SCALE = FiniteRange(*SCALES)
"""Px that a cell should have per px that it has."""


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
