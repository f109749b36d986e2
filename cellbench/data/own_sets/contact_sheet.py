"""Contact sheet of some of a set's images with their cells marked."""

import io
import math

from PIL import Image

from cellbench.data.own_sets.own_import import ImportPlan, PlannedImage
from cellbench.data.reader import ReadOptions, read_whole
from cellbench.drawing import contact_sheet, overlay

_TILES = 12
_TILE_PX = 520


def sheet_png(folder: ImportPlan) -> bytes:
    """Draw the contact sheet of an import plan as PNG.

    It shows at most twelve images, evenly spaced from the fewest to the most cells.
    """
    by_count = sorted(folder.pictures, key=lambda picture: (picture.count, picture.image_id))
    step = max(1.0, (len(by_count) - 1) / (_TILES - 1))
    places = sorted({round(step * index) for index in range(min(_TILES, len(by_count)))})
    shown = [by_count[place] for place in places if place < len(by_count)]
    tiles = [_tile(picture, folder.options) for picture in shown]
    captions = [_caption(picture) for picture in shown]
    sheet = contact_sheet(tiles, captions, math.ceil(math.sqrt(len(tiles))))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _tile(picture: PlannedImage, options: ReadOptions) -> Image.Image:
    pixels = read_whole(picture.path, options).pixels
    scale = _TILE_PX / max(pixels.shape[:2])
    scale = math.floor(scale) if scale > 1 else scale
    return overlay(pixels, truth=picture.points, scale=scale, legend=False)


def _caption(picture: PlannedImage) -> str:
    noun = "cell" if picture.count == 1 else "cells"
    group = "" if picture.group is None else f", {picture.group}"
    return f"{picture.count} {noun}{group}\n{picture.image_id}"
