"""F1 by match radius, averaged over runs."""

from collections.abc import Sequence

import numpy as np

from cellbench.records.model import Record


def mean_f1_curve(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Average F1 over records, by radius in px; empty if one of them has no points."""
    lists = [record.metrics.f1_by_radius for record in records]
    if not all(lists):
        return []
    by_radius: dict[float, list[float]] = {}
    for points in lists:
        for point in points or []:
            if point.f1 is not None:
                by_radius.setdefault(point.radius_px, []).append(point.f1)
    return [(radius, float(np.mean(values))) for radius, values in sorted(by_radius.items())]
