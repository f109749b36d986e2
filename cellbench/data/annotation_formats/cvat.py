"""CVAT: XML of many pictures, "CVAT for images"."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    edge,
    number,
    points_array,
    reading,
    together,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.annotation_formats.xml_files import read_xml
from cellbench.data.point_conventions import CVAT
from cellbench.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PROGRAM = "CVAT"


def read_cvat(path: Path) -> list[FileAnnotation]:
    """Read a cell for each point, box, ellipse, polygon and mask of each picture.

    Raises:
        UserError: it is no such file, holds tracks of a video, or shapes that are no cells.
    """
    root = read_xml(path, PROGRAM)
    with reading(path, PROGRAM):
        if root.tag != "annotations":
            raise ValueError(f"its root is called {root.tag[:40]!r}")
        if root.find("track") is not None:
            raise UserError(f"{path} holds tracks of a video; export it as CVAT for images.")
        found = []
        for image in root.iter("image"):
            places, classes, outlines = [], set(), 0
            for shape in image:
                if shape.tag == "tag":
                    continue
                places += _cells(shape)
                outlines += shape.tag != "points"
                classes.add(shape.get("label", "")[:40])
            notes = together(sorted(classes), "labels")
            if outlines:
                notes += ("Each outline of CVAT is one cell, at its middle.",)
            found.append(
                FileAnnotation(
                    points_array(places, path, CVAT.shift_px),
                    picture=image.attrib["name"],
                    size=(edge(image.attrib["width"]), edge(image.attrib["height"])),
                    notes=notes,
                )
            )
        return found


def _cells(shape: "Element") -> list[tuple[float, float]]:
    if shape.tag in ("points", "polygon"):
        places = [pair.split(",") for pair in shape.attrib["points"].split(";") if pair]
        corners = [(number(x), number(y)) for x, y in places]
        return corners if shape.tag == "points" else [polygon_centroid([corners])]
    if shape.tag == "box":
        left, top, right, bottom = (
            number(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")
        )
        return [((left + right) / 2, (top + bottom) / 2)]
    if shape.tag == "mask":
        return [_middle_of_mask(shape)]
    if shape.tag == "ellipse":
        return [(number(shape.attrib["cx"]), number(shape.attrib["cy"]))]
    raise ValueError(f"a shape of the kind {shape.tag[:40]!r} is no cell")


def _middle_of_mask(shape: "Element") -> tuple[float, float]:
    """The mean of the pixels of a mask: lengths of runs outside and inside, row by row in a box."""
    left, top, width, height = (
        int(number(shape.attrib[key])) for key in ("left", "top", "width", "height")
    )
    runs = [int(one) for one in shape.attrib["rle"].split(",")]
    if min(runs) < 0 or sum(runs) != width * height:
        raise ValueError("the runs of a mask do not fill its box")
    ends = np.cumsum(runs)
    # Of a run of pixels within a row-major box the columns go round: runs are divided at row ends.
    pixels = x_sum = y_sum = 0.0
    for start, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=False):
        while start < end:
            row, column = divmod(start, width)
            many = min(end - start, width - column)
            pixels, start = pixels + many, start + many
            x_sum += many * (column + many / 2)
            y_sum += many * (row + 0.5)
    if not pixels:
        raise ValueError("a mask is empty")
    return left + x_sum / pixels, top + y_sum / pixels
