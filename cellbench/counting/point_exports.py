"""Export of points for other programs, see `cellbench.data.point_conventions`.

Each writer takes the points of a picture, (N, 2) (x, y) px, their scores, (N,) or None, the
picture's name, its size, (width, height) px, and the plane of its file that was counted, and
returns the content of a file. `cellbench.data.annotation_formats` reads the points back to a
hundredth of a pixel; only Cell Counter keeps whole pixels.
"""

import csv
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from cellbench.data.planes import FIRST_PLANE, StackPlane
from cellbench.data.point_conventions import (
    CELL_COUNTER,
    COCO_AREA,
    COCO_KEYPOINT,
    IMAGEJ_POINT,
    NAPARI,
    QUPATH,
)
from cellbench.structures import Points

# Decimals of a coordinate, px.
_DIGITS = 4

# Older versions of ImageJ number the points of a selection in 16 bits.
_MOST_IN_A_ROI = 60_000
# Date of the files in an archive, fixed so that the same points give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
# Edge of the box around a cell that COCO requires, px.
_BOX_PX = 10

Scores = NDArray[np.floating[Any]]
Size = tuple[int, int]


def napari_csv(
    points: Points, scores: Scores | None, *, name: str, size: Size, plane: StackPlane = FIRST_PLANE
) -> bytes:
    """Write a points layer of napari, with the scores as a feature."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", NAPARI.y, NAPARI.x, *([] if scores is None else ["score"])])
    for index, (x, y) in enumerate((points.astype(np.float64) - NAPARI.shift_px).tolist()):
        score = [] if scores is None else [f"{scores[index]:.4f}"]
        writer.writerow([index, round(y, _DIGITS), round(x, _DIGITS), *score])
    return text.getvalue().encode("utf-8")


def qupath_geojson(
    points: Points, scores: Scores | None, *, name: str, size: Size, plane: StackPlane = FIRST_PLANE
) -> bytes:
    """Write a QuPath annotation: all points as one object of the class Cell, without scores.

    Without points the collection is empty, since QuPath accepts no annotation without coordinates.
    The plane (z slice and time point) is written only if it is not the first.
    """
    # Derived from the content, so that the same picture and points give the same bytes.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, name + points.astype("<f4").tobytes().hex())
    places = (points.astype(np.float64) - QUPATH.shift_px).tolist()
    at = {"plane": {"c": -1, "z": plane.z, "t": plane.t}} if plane.z or plane.t else {}
    cells = {
        "type": "Feature",
        "id": str(identity),
        "geometry": {
            "type": "MultiPoint",
            "coordinates": [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in places],
            **at,
        },
        "properties": {
            "objectType": "annotation",
            "name": f"{len(points)} cells",
            "classification": {"name": "Cell", "color": [86, 180, 233]},
        },
    }
    features = [cells] if len(points) else []
    return _json({"type": "FeatureCollection", "features": features})


def imagej_zip(
    points: Points, scores: Scores | None, *, name: str, size: Size, plane: StackPlane = FIRST_PLANE
) -> bytes:
    """Write a list of ImageJ's ROI Manager: multi-point selections, without scores.

    There is one selection per 60 000 points; none without points, since ImageJ has no empty one.
    They apply to all slices of a stack.
    """
    from roifile import ROI_TYPE, ImagejRoi

    places = (points.astype(np.float64) - IMAGEJ_POINT.shift_px).astype(np.float32)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, first in enumerate(range(0, len(places), _MOST_IN_A_ROI), start=1):
            title = f"cells-{part}"
            roi = ImagejRoi.frompoints(places[first : first + _MOST_IN_A_ROI], name=title)
            roi.roitype = ROI_TYPE.POINT
            archive.writestr(zipfile.ZipInfo(f"{title}.roi", _DATE), roi.tobytes())
    return stream.getvalue()


def cell_counter_xml(
    points: Points, scores: Scores | None, *, name: str, size: Size, plane: StackPlane = FIRST_PLANE
) -> bytes:
    """Write markers of ImageJ's Cell Counter, which have whole pixels and no scores.

    The picture's name is the title of its window in ImageJ, since Cell Counter refuses markers of
    other pictures. In a stack the markers are on the slice that was counted, since Cell Counter
    shows those of one slice.
    """
    pixels = np.floor(points.astype(np.float64) - CELL_COUNTER.shift_px + 0.5)
    # Cells that the tables round to the right or lower border belong to the last pixel.
    pixels = np.clip(pixels, 0, np.array(size) - 1).astype(int)
    markers = "".join(
        f"   <Marker><MarkerX>{x}</MarkerX><MarkerY>{y}</MarkerY>"
        f"<MarkerZ>{plane.number}</MarkerZ></Marker>\n"
        for x, y in pixels.tolist()
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CellCounter_Marker_File>\n'
        f" <Image_Properties>\n  <Image_Filename>{escape(PurePath(name).name)}</Image_Filename>\n"
        " </Image_Properties>\n <Marker_Data>\n  <Current_Type>0</Current_Type>\n"
        f"  <Marker_Type>\n   <Type>1</Type>\n{markers}  </Marker_Type>\n"
        " </Marker_Data>\n</CellCounter_Marker_File>\n"
    )
    return text.encode("utf-8")


def coco_json(
    points: Points, scores: Scores | None, *, name: str, size: Size, plane: StackPlane = FIRST_PLANE
) -> bytes:
    """Write a COCO file of one picture: a keypoint for each cell, in a box of ten pixels."""
    found = []
    for index, (x, y) in enumerate(points.astype(np.float64).tolist()):
        corner = [round(at - COCO_AREA.shift_px - _BOX_PX / 2, _DIGITS) for at in (x, y)]
        at = [round(at - COCO_KEYPOINT.shift_px, _DIGITS) for at in (x, y)]
        score = {} if scores is None else {"score": round(float(scores[index]), 4)}
        found.append({
            "id": index + 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
            "keypoints": [*at, 2], "num_keypoints": 1, "bbox": [*corner, _BOX_PX, _BOX_PX],
            "area": _BOX_PX**2, **score,
        })  # fmt: skip
    image = {"id": 1, "file_name": PurePath(name).name, "width": size[0], "height": size[1]}
    category = {"id": 1, "name": "cell", "keypoints": ["centre"], "skeleton": []}
    return _json({"images": [image], "annotations": found, "categories": [category]})


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document) + "\n").encode("ascii")


WRITERS: dict[str, tuple[str, Callable[..., bytes]]] = {
    "napari": (".csv", napari_csv),
    "qupath": (".geojson", qupath_geojson),
    "imagej": (".zip", imagej_zip),
    "cellcounter": (".xml", cell_counter_xml),
    "coco": (".json", coco_json),
}
"""Suffix and writer of each format of `--also`."""
