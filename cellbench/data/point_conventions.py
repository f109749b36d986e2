"""Coordinate conventions of point formats: pixel origin and axis order.

cellbench's points are (x, y) px from the corner of the image: the centre of the first pixel is
(0.5, 0.5). Programs that number pixels put it at (0, 0). Readers and writers of points both use
this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PointConvention:
    """Coordinate convention of a point format.

    Attributes:
        x: name of the horizontal coordinate, lower case.
        y: name of the vertical coordinate, lower case.
        shift_px: offset that a reader adds to both coordinates and a writer subtracts: 0.5 where
            the centre of the first pixel is at (0, 0).
    """

    x: str = "x"
    y: str = "y"
    shift_px: float = 0.0


# `x y` lines, cellbench's own format, if any number of the file has a fraction.
TEXT = PointConvention()
# `x y` lines in whole numbers only: column and row of a pixel.
PIXEL_INDICES = PointConvention(shift_px=0.5)
# A points layer has array indices, rows (axis-0) first; the centre of an array's first element has
# the world coordinates (0, 0).
NAPARI = PointConvention(x="axis-1", y="axis-0", shift_px=0.5)
# Whole coordinates of points and lines are centres of pixels, those of areas are corners, and
# `Measure` writes them as they are: the two differ by half a pixel within one Results.csv.
IMAGEJ_POINT = PointConvention(shift_px=0.5)
IMAGEJ_AREA = PointConvention()
# Shapes are geometry in px of the full image: a rectangle at (0, 0) begins at its corner.
QUPATH = PointConvention()
# Markers are clicked pixels: whole numbers are centres.
CELL_COUNTER = PointConvention(shift_px=0.5)
# Keypoints are pixel indices from 0 (detectron2 adds 0.5 to them); boxes and outlines are geometry:
# a box at (0, 0) begins at the corner.
COCO_KEYPOINT = PointConvention(shift_px=0.5)
COCO_AREA = PointConvention()
# Shapes are geometry in px from the corner of the image.
LABELME = PointConvention()
CVAT = PointConvention()
# Points are clicked pixels, in whole numbers; outlines are geometry.
VIA_POINT = PointConvention(shift_px=0.5)
VIA_AREA = PointConvention()
# The position of a mask object is the mean of its pixels' centres.
MASK_PIXELS = PointConvention(shift_px=0.5)
# Centroids of scikit-image and centres of ilastik are means of pixel indices.
REGION_PROPERTIES = PointConvention(x="centroid-1", y="centroid-0", shift_px=0.5)
ILASTIK = PointConvention(x="center of the object_0", y="center of the object_1", shift_px=0.5)
