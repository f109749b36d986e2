"""Reader of "CVAT for images": one XML file for many images."""

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from cellbench.data.annotation_formats.file_annotation import (
    FileAnnotation,
    combined_classes_note,
    explained_parsing,
    finite_number,
    points_array,
    side_px,
)
from cellbench.data.annotation_formats.shapes import polygon_centroid
from cellbench.data.annotation_formats.xml_files import read_xml
from cellbench.data.point_conventions import CVAT
from cellbench.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PROGRAM = "CVAT"


def read_cvat(path: Path) -> list[FileAnnotation]:
    """Read one cell per point, box, ellipse, polygon and mask of each image.

    Raises:
        UserError: the file is not in this format, holds tracks of a video, or a shape is no cell.
    """
    root = read_xml(path, PROGRAM)
    with explained_parsing(path, PROGRAM):
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
            notes = combined_classes_note(sorted(classes), "labels")
            if outlines:
                notes += ("Each outline of CVAT is one cell, at its middle.",)
            found.append(
                FileAnnotation(
                    points_array(places, path, CVAT.shift_px),
                    picture=image.attrib["name"],
                    size=(side_px(image.attrib["width"]), side_px(image.attrib["height"])),
                    notes=notes,
                )
            )
        return found


def _cells(shape: "Element") -> list[tuple[float, float]]:
    if shape.tag in ("points", "polygon"):
        places = [pair.split(",") for pair in shape.attrib["points"].split(";") if pair]
        corners = [(finite_number(x), finite_number(y)) for x, y in places]
        return corners if shape.tag == "points" else [polygon_centroid([corners])]
    if shape.tag == "box":
        left, top, right, bottom = (
            finite_number(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")
        )
        return [((left + right) / 2, (top + bottom) / 2)]
    if shape.tag == "mask":
        return [_middle_of_mask(shape)]
    if shape.tag == "ellipse":
        return [(finite_number(shape.attrib["cx"]), finite_number(shape.attrib["cy"]))]
    raise ValueError(f"a shape of the kind {shape.tag[:40]!r} is no cell")


def _middle_of_mask(shape: "Element") -> tuple[float, float]:
    """Compute the centroid of a run-length-encoded mask.

    Lengths of runs outside and inside the mask alternate, row by row in its box.
    """
    left, top, width, height = (
        int(finite_number(shape.attrib[key])) for key in ("left", "top", "width", "height")
    )
    runs = [int(one) for one in shape.attrib["rle"].split(",")]
    if width < 1 or min(runs) < 0 or sum(runs) != width * height:
        raise ValueError("the runs of a mask do not fill its box")
    ends = [0, *accumulate(runs)]
    pixels = columns = rows = 0
    for start, end in zip(ends[1::2], ends[2::2], strict=False):
        before, after = _sums(start, width), _sums(end, width)
        pixels += end - start
        columns += after[0] - before[0]
        rows += after[1] - before[1]
    if not pixels:
        raise ValueError("a mask is empty")
    return left + columns / pixels + 0.5, top + rows / pixels + 0.5


def _sums(pixels: int, width: int) -> tuple[int, int]:
    """Compute the sums of the column and of the row indices of a box's first `pixels` pixels.

    In closed form, without a loop over pixels: a box may state any size.
    """
    full, rest = divmod(pixels, width)
    rows = width * (full * (full - 1) // 2) + full * rest
    return pixels * (pixels - 1) // 2 - width * rows, rows
