"""SVG charts, drawn when the site is built: they print, scale, and need no JavaScript.

A plotting library for the browser would be 0.8 MB and compile code at run time, which the pages'
security policy forbids. Colours are classes of the pages' style sheet, so that charts follow the
dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape

from cellbench.metrics.counting import Agreement
from cellbench.ranking.tables import plain

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 44
SERIES = 7
_ROW = 34


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a chart: its position, its label, and the page that it links to."""

    x: float
    y: float
    label: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A horizontal line with a label."""

    y: float
    label: str
    dashed: bool = False


@lru_cache(maxsize=2**14)
def escaped(text: str) -> str:
    """Escape text for a page; cached, since most texts are on many pages."""
    return str(escape(plain(text)))


def limit_lines(agreement: Agreement | None) -> list[Line]:
    """Return bias and limits of agreement of a Bland-Altman plot; empty if they are unknown."""
    if agreement is None:
        return []
    return [
        Line(agreement.bias, f"bias {agreement.bias:+.2f}"),
        Line(agreement.low, f"{agreement.low:+.1f}", dashed=True),
        Line(agreement.high, f"{agreement.high:+.1f}", dashed=True),
    ]


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its interval; both may be unknown."""

    label: str
    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that maps values from `low` to `high` to px from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the position of a value in px, rounded to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return evenly spaced round values that cover `low` to `high`.

    If the ends differ only by rounding, the axis covers 0.5 on each side of `low`.
    """
    if not high - low > 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, low + 0.5
    step = 10 ** math.floor(math.log10((high - low) / most))
    while (high - low) / step > most:
        step *= 2 if not str(step).lstrip("0.").startswith("2") else 2.5
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


def scatter(
    dots: Sequence[Dot],
    *,
    title: str,
    x: str,
    y: str,
    diagonal: bool = False,
    lines: Sequence[Line] = (),
) -> Markup:
    """Draw a scatter plot.

    Args:
        dots: points; those with a page link to it, for the pointer only, since the table next to
            a chart has the same links for the keyboard.
        title: text for screen readers.
        x: label of the x axis, with its unit.
        y: label of the y axis, with its unit.
        diagonal: whether both axes have the same range, and the line of equality is drawn.
        lines: horizontal lines.

    Returns:
        An `svg` element; empty without points.
    """
    if not dots:
        return Markup("")
    xs = [dot.x for dot in dots]
    ys = [*(dot.y for dot in dots), *(line.y for line in lines)]
    across, up = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    if diagonal:
        across = up = ticks(min(*xs, *ys, 0.0), max(*xs, *ys))
    place_x, place_y = _axes(across, up)
    parts = [_frame(place_x, place_y, across, up, x, y)]
    if diagonal:
        parts.append(_segment("rule", place_x.start, place_y.start, place_x.end, place_y.end))
    for line in lines:
        height = place_y.at(line.y)
        name = "limit dashed" if line.dashed else "limit"
        parts.append(_segment(name, place_x.start, height, place_x.end, height))
        parts.append(_text("tick", place_x.end, round(height - 3, 1), "end", line.label))
    for dot in dots:
        label = escaped(dot.label)
        position = f'cx="{place_x.at(dot.x)}" cy="{place_y.at(dot.y)}"'
        circle = f'<circle class="dot" {position} r="3"><title>{label}</title></circle>'
        if dot.href:
            href = escaped(dot.href)
            circle = f'<a href="{href}" tabindex="-1" aria-label="{label}">{circle}</a>'
        parts.append(circle)
    return _svg(title, parts)


def curves(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    title: str,
    x: str,
    y: str,
    most: float | None = None,
) -> Markup:
    """Draw line charts, with a key if there are several lines.

    Args:
        series: name and points of each line; those without points are left out.
        title: text for screen readers.
        x: label of the x axis, with its unit.
        y: label of the y axis, with its unit.
        most: upper end of the y axis; None for the largest value.

    Returns:
        An `svg` element; empty without points.
    """
    drawn = [(name, points) for name, points in series if points]
    if not drawn:
        return Markup("")
    xs = [point[0] for _, points in drawn for point in points]
    ys = [point[1] for _, points in drawn for point in points]
    across = ticks(min(xs), max(xs))
    up = ticks(min(0.0, *ys), max(*ys, 0.0) if most is None else most)
    place_x, place_y = _axes(across, up)
    parts = [_frame(place_x, place_y, across, up, x, y)]
    for index, (name, points) in enumerate(drawn):
        path = " ".join(f"{place_x.at(px)},{place_y.at(py)}" for px, py in points)
        colour = f"c{index % SERIES}"
        tooltip = f"<title>{escaped(name)}</title>"
        parts.append(f'<polyline class="line {colour}" points="{path}">{tooltip}</polyline>')
        if len(drawn) > 1:
            height = _TOP + 14 * (index + 1)
            parts.append(_segment(f"line {colour}", _LEFT + 8, height - 4, _LEFT + 24, height - 4))
            parts.append(_text("key", _LEFT + 28, height, "start", name))
    return _svg(title, parts)


def spans(rows: Sequence[Span], *, title: str, x: str) -> Markup:
    """Draw estimates with their intervals, one below the other, and a line at zero.

    Args:
        rows: spans; those without an estimate are left out.
        title: text for screen readers.
        x: label of the axis, with its unit.

    Returns:
        An `svg` element; empty without estimates.
    """
    known = [(row, row.estimate) for row in rows if row.estimate is not None]
    if not known:
        return Markup("")
    ends = [end for row, value in known for end in (row.low, value, row.high) if end is not None]
    across = ticks(min(0.0, *ends), max(0.0, *ends))
    bottom = _TOP + _ROW * len(known)
    place = Axis(across[0], across[-1], _LEFT, WIDTH - _RIGHT)
    parts = []
    for value in across:
        px = place.at(value)
        parts.append(_segment("rule" if value == 0 else "grid", px, _TOP, px, bottom))
        parts.append(_text("tick", px, bottom + 15, "middle", f"{value:g}"))
    for index, (row, estimate) in enumerate(known):
        height = _TOP + _ROW * index + 26
        parts.append(_text("key", _LEFT, height - 12, "start", row.label))
        if row.low is not None and row.high is not None:
            parts.append(_segment("line c0", place.at(row.low), height, place.at(row.high), height))
        parts.append(f'<circle class="dot" cx="{place.at(estimate)}" cy="{height}" r="4"/>')
    parts.append(_text("label", (_LEFT + WIDTH - _RIGHT) / 2, bottom + 36, "middle", x))
    return _svg(title, parts, bottom + _BOTTOM)


def _axes(across: Sequence[float], up: Sequence[float]) -> tuple[Axis, Axis]:
    return (
        Axis(across[0], across[-1], _LEFT, WIDTH - _RIGHT),
        Axis(up[0], up[-1], HEIGHT - _BOTTOM, _TOP),
    )


def _frame(
    place_x: Axis, place_y: Axis, across: Sequence[float], up: Sequence[float], x: str, y: str
) -> str:
    parts = []
    for value in across:
        px = place_x.at(value)
        parts.append(_segment("grid", px, place_y.start, px, place_y.end))
        parts.append(_text("tick", px, HEIGHT - _BOTTOM + 15, "middle", f"{value:g}"))
    for value in up:
        px = place_y.at(value)
        parts.append(_segment("grid", place_x.start, px, place_x.end, px))
        parts.append(_text("tick", _LEFT - 5, round(px + 4, 1), "end", f"{value:g}"))
    middle, centre = (_LEFT + WIDTH - _RIGHT) / 2, (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(_text("label", middle, HEIGHT - 8, "middle", x))
    turned = _text("label", 12, centre, "middle", y)
    parts.append(f'<g transform="rotate(-90 12 {centre})">{turned}</g>')
    return "".join(parts)


def _segment(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(name: str, x: float, y: float, anchor: str, text: str) -> str:
    shown = escaped(text)
    return f'<text class="{name}" x="{x}" y="{y}" text-anchor="{anchor}">{shown}</text>'


def _svg(title: str, parts: Sequence[str], height: float = HEIGHT) -> Markup:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="group"'
    label = escaped(title)
    return Markup(f'{head} aria-label="{label}">{"".join(parts)}</svg>')
