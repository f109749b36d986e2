"""Points in the formats of the programs that people look at cells with."""

import csv
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.structures import Points

Scores = NDArray[np.floating[Any]]


def napari_csv(points: Points, scores: Scores | None, *, name: str) -> str:
    """A points layer of napari, with the scores as a feature.

    napari's pixel has its centre, and ours its corner, at whole numbers.

    Args:
        points: (N, 2), (x, y) px.
        scores: (N,), or None.
        name: of the picture; not written, the layer takes the file's.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "axis-0", "axis-1", *([] if scores is None else ["score"])])
    for index, (x, y) in enumerate(points.tolist()):
        score = [] if scores is None else [f"{scores[index]:.4f}"]
        writer.writerow([index, f"{y - 0.5:.2f}", f"{x - 0.5:.2f}", *score])
    return text.getvalue()


def qupath_geojson(points: Points, scores: Scores | None, *, name: str) -> str:
    """An annotation of QuPath: all points as one object of the class Cell.

    QuPath's coordinates are ours: px of the full picture, corners at whole numbers.

    Args:
        points: (N, 2), (x, y) px; without one the collection is empty, since QuPath takes no
            annotation without a place.
        scores: (N,), or None; QuPath keeps none for a point.
        name: of the picture.
    """
    # The same picture and points give the same bytes.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, name + points.astype("<f4").tobytes().hex())
    cells = {
        "type": "Feature",
        "id": str(identity),
        "geometry": {
            "type": "MultiPoint",
            "coordinates": [[round(x, 2), round(y, 2)] for x, y in points.tolist()],
        },
        "properties": {
            "objectType": "annotation",
            "name": f"{len(points)} cells",
            "classification": {"name": "Cell", "color": [86, 180, 233]},
        },
    }
    features = [cells] if len(points) else []
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


WRITERS: dict[str, tuple[str, Callable[..., str]]] = {
    "napari": (".csv", napari_csv),
    "qupath": (".geojson", qupath_geojson),
}
"""Suffix and writer of each program's format."""
