"""Drawings of images with annotated, predicted and missed cells.

Colours are Okabe and Ito's, which colour-blind readers tell apart, and every class has its own
shape as well: a ring is a matched prediction, a triangle a false positive, a cross a missed cell.
Each mark has a rim, so that it is visible on any stain.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cellbench.errors import UserError
from cellbench.structures import Points

Colour = tuple[int, int, int]
Rows = Sequence[int] | NDArray[np.integer]

_ORANGE: Colour = (230, 159, 0)
_SKY: Colour = (86, 180, 233)
_YELLOW: Colour = (240, 228, 66)
_VERMILION: Colour = (235, 84, 0)
_INK: Colour = (24, 24, 27)
_PAPER: Colour = (255, 255, 255)
_GREY: Colour = (96, 96, 104)

# Anti-aliasing: marks are drawn this many times larger and averaged down.
_FINE = 4
# Enlarge until the shorter side has this many px; a cell of ADI then spans some 50.
_LEAST_SIDE_PX = 750
_LONGEST_SIDE_PX = 4096
_MOST_SHEET_PX = 24_000_000


@dataclass(frozen=True, slots=True)
class _Mark:
    """Mark of a class of points: legend word, shape, colour and rim colour."""

    word: str
    shape: str
    colour: Colour
    rim: Colour = _INK


_CELL = _Mark("annotated", "dot", _YELLOW)
_FOUND = _Mark("predicted", "ring", _SKY)
_HIT = _Mark("found", "ring", _SKY)
_FALSE = _Mark("false", "triangle", _ORANGE)
# Missed cells are mostly dark ones, hence the light rim.
_MISS = _Mark("missed", "cross", _VERMILION, _PAPER)


def overlay(
    pixels: NDArray[np.generic],
    *,
    truth: Points | None = None,
    predicted: Points | None = None,
    matches: tuple[Rows, Rows] | None = None,
    scale: float | None = None,
    caption: str | None = None,
    legend: bool = True,
) -> Image.Image:
    """Draw an image with its points on it and a legend with their numbers below.

    Args:
        pixels: (H, W, 3) uint8 RGB, or (H, W) uint8.
        truth: (N, 2) float, (x, y) px: annotated cells.
        predicted: (M, 2) float, (x, y) px: predicted cells.
        matches: rows of `predicted` and the rows of `truth` that they belong to, two (K,)
            sequences, as `match_points` returns them. With them, matched predictions are rings,
            other predictions triangles, unmatched cells crosses; without, annotated cells are
            dots and predictions rings.
        scale: px of the drawing per px of the image, whole where it enlarges; chosen by size
            if None. The longer side of the drawing is at most 4096 px.
        caption: a line above the legend.
        legend: whether to draw the numbers below.

    Returns:
        An RGB image; without points the enlarged image and its legend.

    Raises:
        UserError: `pixels` is not an image.
    """
    base, factor = _enlarged(pixels, scale)
    groups = _groups(truth, predicted, matches)
    # The radius of a mark is less than half the way to the next cell.
    number = max([1, *(len(points) for _, points in groups)])
    spacing = math.sqrt(base.width * base.height / number)
    size = float(np.clip(0.18 * spacing, 3.5, max(5.0, min(base.size) / 95)))
    for mark, points in groups:
        _stamp(base, mark, points, factor, size)
    words = [(mark, f"{len(points)} {mark.word}") for mark, points in groups if legend]
    return _with_legend(base, words, caption)


def density_overlay(
    pixels: NDArray[np.generic],
    density: NDArray[np.floating],
    *,
    caption: str | None = None,
) -> Image.Image:
    """Draw a density map over its image, with the sum in the legend.

    Args:
        pixels: (H, W, 3) or (H, W) uint8.
        density: (h, w) of any stride; its cells tile the image. Negative values are drawn as 0.
        caption: a line above the legend.
    """
    base, _ = _enlarged(pixels, None)
    values = np.nan_to_num(np.asarray(density, dtype=np.float32)).clip(min=0)
    top = float(np.quantile(values, 0.995)) or float(values.max()) or 1.0
    strength = np.rint((values / top).clip(max=1.0) * 200).astype(np.uint8)
    mask = Image.fromarray(strength).resize(base.size, Image.Resampling.BILINEAR)
    base.paste(Image.new("RGB", base.size, _ORANGE), mask=mask)
    total = float(np.asarray(density, dtype=np.float64).sum())
    return _with_legend(
        base, [(_Mark("", "square", _ORANGE), f"density, sum {total:.1f}")], caption
    )


def contact_sheet(
    tiles: Sequence[Image.Image], captions: Sequence[str], columns: int
) -> Image.Image:
    """Arrange images in rows, each with its caption below.

    Tiles of different sizes share one cell size, in which the smaller are centred. A sheet
    that would exceed 24 million px is made of smaller tiles.

    Args:
        tiles: at least one.
        captions: one per tile, of one line or more; a line wider than its tile is cut with an
            ellipsis.
        columns: tiles per row, 1 or more.

    Raises:
        UserError: no tiles, no columns, or another number of captions than tiles.
    """
    if not tiles or len(tiles) != len(captions) or columns < 1:
        raise UserError(
            f"A contact sheet takes one caption for each tile and a column or more, not "
            f"{len(tiles)} tiles, {len(captions)} captions and {columns} columns."
        )
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    wide, high = max(t.width for t in tiles), max(t.height for t in tiles)
    shrink = min(1.0, math.sqrt(_MOST_SHEET_PX / (wide * high * rows * columns)))
    wide, high = max(1, int(wide * shrink)), max(1, int(high * shrink))
    gap, font = max(6, wide // 40), _font(wide)
    line = round(1.35 * font.size)
    lines = max(caption.count("\n") + 1 for caption in captions)
    step_x, step_y = wide + gap, high + line * lines + gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = gap + index % columns * step_x, gap + index // columns * step_y
        if shrink < 1:
            size = (max(1, int(tile.width * shrink)), max(1, int(tile.height * shrink)))
            tile = tile.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        sheet.paste(tile.convert("RGB"), (x + (wide - tile.width) // 2, y + high - tile.height))
        for row, text in enumerate(caption.split("\n")):
            place = (x + wide / 2, y + high + line * (row + 0.6))
            colour = _GREY if row else _INK
            draw.text(place, _fitted(text, font, wide), fill=colour, font=font, anchor="mm")
    return sheet


def _enlarged(pixels: NDArray[np.generic], scale: float | None) -> tuple[Image.Image, float]:
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim not in {2, 3} or 0 in array.shape:
        raise UserError(
            f"A drawing takes (H, W, 3) or (H, W) uint8 pixels, not {array.shape} {array.dtype}."
        )
    image = Image.fromarray(array).convert("RGB")
    factor: float = scale or math.ceil(_LEAST_SIDE_PX / min(image.size))
    factor = min(factor, _LONGEST_SIDE_PX / max(image.size))
    factor = float(math.floor(factor)) if factor >= 1 else factor
    if factor == 1:
        return image, 1.0
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC), factor


def _groups(
    truth: Points | None,
    predicted: Points | None,
    matches: tuple[Rows, Rows] | None,
) -> list[tuple[_Mark, Points]]:
    if matches is None or truth is None or predicted is None:
        plain = [(_CELL, truth), (_FOUND, predicted)]
        return [(mark, points) for mark, points in plain if points is not None]
    rows, columns = (np.asarray(part, dtype=np.int64) for part in matches)
    hit = np.isin(np.arange(len(predicted)), rows)
    met = np.isin(np.arange(len(truth)), columns)
    return [(_HIT, predicted[hit]), (_FALSE, predicted[~hit]), (_MISS, truth[~met])]


def _stamp(base: Image.Image, mark: _Mark, points: Points, factor: float, size: float) -> None:
    """Draw a mark at every point, to a quarter of a pixel."""
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2) * factor
    for x, y in places[np.isfinite(places).all(axis=1)]:
        if not (-size <= x <= base.width + size and -size <= y <= base.height + size):
            continue
        left, top = math.floor(x), math.floor(y)
        part = (int((x - left) * _FINE), int((y - top) * _FINE))
        picture, middle = _picture(mark, size, part)
        base.paste(picture, (left - middle, top - middle), mask=picture)


@lru_cache(maxsize=256)
def _picture(mark: _Mark, size: float, part: tuple[int, int]) -> tuple[Image.Image, int]:
    """Draw a mark as RGBA; return it and the px from its left edge to the px of its centre."""
    middle = math.ceil(size * 1.5) + 2
    edge = (2 * middle + 1) * _FINE
    centre = (middle * _FINE + part[0] + 0.5, middle * _FINE + part[1] + 0.5)
    layers = []
    # The rim is the same shape, drawn thicker below it.
    for extra, colour in ((2.2, mark.rim), (0.0, mark.colour)):
        layer = Image.new("L", (edge, edge), 0)
        _draw_shape(ImageDraw.Draw(layer), mark.shape, centre, size * _FINE, extra * _FINE)
        alpha = layer.resize((edge // _FINE,) * 2, Image.Resampling.BOX)
        solid = Image.new("RGBA", alpha.size, (*colour, 0))
        solid.putalpha(alpha)
        layers.append(solid)
    return Image.alpha_composite(*layers), middle


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, centre: tuple[float, float], size: float, extra: float
) -> None:
    x, y = centre
    line = max(1.6 * _FINE, 0.28 * size)
    grown = extra / 2
    if shape == "dot":
        r = 0.55 * size + grown
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    elif shape == "ring":
        r = size + grown
        draw.ellipse((x - r, y - r, x + r, y + r), outline=255, width=round(line + extra))
    elif shape == "cross":
        r, line = 0.95 * size + grown * 0.7, 1.3 * line
        for sign in (1, -1):
            ends = (x - r, y - sign * r, x + r, y + sign * r)
            draw.line(ends, fill=255, width=round(line + extra))
    elif shape == "triangle":
        r = 1.25 * size + grown
        corners = [
            (x + r * math.sin(a), y - r * math.cos(a))
            for a in (0, 2 * math.pi / 3, -2 * math.pi / 3)
        ]
        draw.polygon(corners, outline=255, width=round(line + extra))
    else:
        draw.rectangle((x - size, y - size, x + size, y + size), fill=255)


def _with_legend(
    base: Image.Image, legend: Sequence[tuple[_Mark, str]], caption: str | None
) -> Image.Image:
    font = _font(base.width)
    line = round(1.7 * font.size)
    lines: list[list[tuple[_Mark | None, str]]] = []
    lines += [[(None, _fitted(caption, font, base.width - line))]] if caption else []
    lines += list(_wrapped(legend, font, base.width - line, line))
    canvas = Image.new("RGB", (base.width, base.height + line * len(lines)), _PAPER)
    canvas.paste(base)
    draw = ImageDraw.Draw(canvas)
    for row, items in enumerate(lines):
        x, y = line / 2, base.height + line * (row + 0.5)
        for mark, text in items:
            if mark is not None:
                points = np.array([[x + line * 0.3, y]], dtype=np.float32)
                _stamp(canvas, mark, points, 1.0, line * 0.24)
                x += line * 0.8
            draw.text((x, y), text, fill=_INK if mark is None else _GREY, font=font, anchor="lm")
            x += font.getlength(text) + line * 0.8
    return canvas


def _wrapped(
    legend: Sequence[tuple[_Mark, str]], font: ImageFont.FreeTypeFont, width: float, height: float
) -> Iterator[list[tuple[_Mark | None, str]]]:
    line: list[tuple[_Mark | None, str]] = []
    used = 0.0
    for mark, text in legend:
        needed = font.getlength(text) + 1.6 * height
        if line and used + needed > width:
            yield line
            line, used = [], 0.0
        line.append((mark, text))
        used += needed
    if line:
        yield line


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def _font(width: int) -> ImageFont.FreeTypeFont:
    """Load the font for a drawing of this width in px."""
    # Pillow's own font is the same on every system.
    font = ImageFont.load_default(int(np.clip(width / 30, 11, 24)))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UserError("This Pillow was built without FreeType; install Pillow from PyPI.")
    return font
