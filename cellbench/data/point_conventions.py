"""The half pixel and the order of the axes in every format of points, decided once.

cellbench's points are (x, y) px from the corner of the picture: the centre of the first pixel is
(0.5, 0.5). Programs that number pixels put it at (0, 0). Readers and writers of points both go
through this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PointConvention:
    """How a format writes the place of a cell.

    Attributes:
        x: name of the horizontal coordinate, lower case.
        y: name of the vertical coordinate.
        shift_px: what a reader adds to both coordinates, and a writer takes away: 0.5 where the
            centre of the first pixel is at (0, 0).
    """

    x: str = "x"
    y: str = "y"
    shift_px: float = 0.0


# `x y` lines, cellbench's own format; read so if one number of a file has a fraction.
TEXT = PointConvention()
# `x y` lines in whole numbers only are column and row of a pixel.
PIXEL_INDICES = PointConvention(shift_px=0.5)
# A points layer is placed by array indices, rows (axis-0) first; the centre of an array's first
# element has the world coordinates (0, 0).
NAPARI = PointConvention(x="axis-1", y="axis-0", shift_px=0.5)
# Whole coordinates of points and lines are centres of pixels, those of areas are corners, and
# `Measure` writes them as they are: the two differ by half a pixel within one Results.csv.
IMAGEJ_POINT = PointConvention(shift_px=0.5)
IMAGEJ_AREA = PointConvention()
# Shapes are geometry in px of the full picture: a rectangle at (0, 0) begins at the corner.
QUPATH = PointConvention()
# Markers are pixels that were clicked at: whole numbers are centres.
CELL_COUNTER = PointConvention(shift_px=0.5)
# Keypoints are indices of pixels from 0 (detectron2 adds 0.5 to them); boxes and outlines are
# geometry, whose box at (0, 0) begins at the corner.
COCO_KEYPOINT = PointConvention(shift_px=0.5)
COCO_AREA = PointConvention()
# Shapes are geometry in px of the picture, from its corner.
LABELME = PointConvention()
CVAT = PointConvention()
# Points are the pixels that were clicked at, in whole numbers; outlines are geometry.
VIA_POINT = PointConvention(shift_px=0.5)
VIA_AREA = PointConvention()
# An object of a mask is the set of its pixels: its place is the mean of their centres.
MASK_PIXELS = PointConvention(shift_px=0.5)
# Centroids of scikit-image and centres of ilastik are means of pixel indices.
REGION_PROPERTIES = PointConvention(x="centroid-1", y="centroid-0", shift_px=0.5)
ILASTIK = PointConvention(x="center of the object_0", y="center of the object_1", shift_px=0.5)
