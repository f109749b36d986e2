"""Export points for napari and QuPath, see `cellbench.data.point_conventions`."""

import csv
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.point_conventions import NAPARI, QUPATH
from cellbench.structures import Points

# Digits of a coordinate after the point, px.
_DIGITS = 4

Scores = NDArray[np.floating[Any]]


def napari_csv(points: Points, scores: Scores | None, *, name: str) -> str:
    """Write a points layer of napari, with the scores as a feature.

    Args:
        points: (N, 2), (x, y) px.
        scores: (N,), or None.
        name: of the picture; not written, the layer takes the file's.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", NAPARI.y, NAPARI.x, *([] if scores is None else ["score"])])
    for index, (x, y) in enumerate((points.astype(np.float64) - NAPARI.shift_px).tolist()):
        score = [] if scores is None else [f"{scores[index]:.4f}"]
        writer.writerow([index, round(y, _DIGITS), round(x, _DIGITS), *score])
    return text.getvalue()


def qupath_geojson(points: Points, scores: Scores | None, *, name: str) -> str:
    """Write an annotation of QuPath: all points as one object of the class Cell.

    Args:
        points: (N, 2), (x, y) px; without one the collection is empty, since QuPath takes no
            annotation without a place.
        scores: (N,), or None; QuPath keeps none for a point.
        name: of the picture.
    """
    # The same picture and points give the same bytes.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, name + points.astype("<f4").tobytes().hex())
    places = (points.astype(np.float64) - QUPATH.shift_px).tolist()
    cells = {
        "type": "Feature",
        "id": str(identity),
        "geometry": {
            "type": "MultiPoint",
            "coordinates": [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in places],
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
"""Suffix and writer of each format that `--also` takes."""
