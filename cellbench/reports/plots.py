"""Figures of a grid's results, each as PNG and SVG.

matplotlib is the extra `cellbench[plots]`; callers handle the import error. Figures are created
without pyplot, so that they need no display and are not kept open.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from cellbench.files.writing import write_atomically
from cellbench.metrics.counting import bland_altman
from cellbench.ranking.statistics import Floats
from cellbench.reports.effects import Effect
from cellbench.reports.grid_results import GridResults
from cellbench.reports.grid_sheets import effect_label

# Okabe and Ito's colours, distinct for colour-blind readers; further series have other dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_COLUMNS = 4
_MOST_PANELS = 12


def draw_effects(folder: Path, effects: Sequence[Effect], *, title: str, stem: str) -> list[Path]:
    """Plot averaged effects and interactions with their intervals; left of zero is better.

    Returns:
        The files; empty without effects.
    """
    shown = [e for e in effects if not e.within and e.estimate is not None]
    if not shown:
        return []
    figure = _figure(7.5, 1.3 + 0.34 * len(shown))
    axes = figure.add_subplot()
    for place, effect in enumerate(reversed(shown)):
        colour = _COLOURS[len(effect.changes) - 1]
        if effect.low is not None and effect.high is not None:
            axes.plot([effect.low, effect.high], [place, place], color=colour, linewidth=2)
        axes.plot([effect.estimate or 0.0], [place], "o", color=colour, markersize=5)
    axes.axvline(0, color="#777777", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [effect_label(e) for e in reversed(shown)], fontsize=8)
    # A label of the figure: long tick labels can leave the axes narrower than this text.
    figure.supxlabel("change of MAE in cells an image, with 95 % interval", fontsize=10)
    axes.set_title(title, fontsize=10)
    return _save(figure, folder, stem)


def draw_counts(folder: Path, part: GridResults) -> list[Path]:
    """Plot predicted against true counts: one point per image, averaged over splits and seeds."""

    def panel(axes: Any, truth: Floats, difference: Floats) -> None:
        top = 1.05 * max(truth.max(), (truth + difference).max(), 1.0)
        axes.plot([0, top], [0, top], color="#777777", linewidth=0.8)
        axes.plot(truth, truth + difference, "o", color=_COLOURS[0], markersize=3, alpha=0.6)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)

    return _panels(folder, part, panel, "true count", "predicted count", "counts")


def draw_agreement(folder: Path, part: GridResults) -> list[Path]:
    """Draw Bland-Altman plots: difference against the mean of prediction and ground truth."""

    def panel(axes: Any, truth: Floats, difference: Floats) -> None:
        axes.plot(
            truth + difference / 2, difference, "o", color=_COLOURS[0], markersize=3, alpha=0.6
        )
        found = bland_altman(truth, truth + difference)
        if found is not None:
            axes.axhline(found.bias, color=_COLOURS[1], linewidth=1.2)
            for limit in (found.low, found.high):
                axes.axhline(limit, color=_COLOURS[1], linewidth=1, linestyle="--")
        axes.axhline(0, color="#777777", linewidth=0.8)

    return _panels(
        folder, part, panel, "mean of predicted and true count", "predicted − true", "agreement"
    )


def draw_density(
    folder: Path, part: GridResults, areas_px: Mapping[str, float] | None = None
) -> list[Path]:
    """Plot mean absolute error against cell density, in up to six groups of images.

    Args:
        folder: output folder.
        part: results on one dataset.
        areas_px: area by image id in px²; without it the count replaces the density.
    """
    errors = part.errors
    density = errors.truth.copy()
    label = "cells an image"
    if areas_px is not None and all(image_id in areas_px for image_id in errors.image_ids):
        density = 1e4 * density / np.array([areas_px[i] for i in errors.image_ids])
        label = "cells per 100 × 100 px"
    if not len(density):
        return []
    figure, axes = _single_axes(part, "error against density")
    for index, (row, name) in enumerate(zip(errors.absolute, part.labels(), strict=True)):
        scored = np.flatnonzero(np.isfinite(row))
        groups = np.array_split(scored[np.argsort(density[scored], kind="stable")], 6)
        groups = [group for group in groups if len(group)]
        x = [density[group].mean() for group in groups]
        axes.plot(x, [row[group].mean() for group in groups], label=name, **_style(index))
    axes.set_xlabel(f"{label}, mean of a sixth of the images")
    axes.set_ylabel("MAE, cells")
    axes.set_ylim(bottom=0)
    _legend(axes, len(part.cells))
    return _save(figure, folder, f"density-{stem_of(part)}")


def draw_f1(
    folder: Path, part: GridResults, curves: Sequence[Sequence[tuple[float, float]]]
) -> list[Path]:
    """Plot F1 against the match radius.

    Args:
        folder: output folder.
        part: results on one dataset.
        curves: per cell its (radius in px, F1) pairs; empty for a method without points.

    Returns:
        The files; empty if no method has points.
    """
    if not any(curves):
        return []
    figure, axes = _single_axes(part, "F1 over the match radius")
    for index, (curve, name) in enumerate(zip(curves, part.labels(), strict=True)):
        if curve:
            axes.plot(*zip(*curve, strict=True), label=name, **_style(index))
    axes.set_xlabel("match radius, px of the original image")
    axes.set_ylabel("F1")
    axes.set_ylim(0, 1)
    _legend(axes, len(part.cells))
    return _save(figure, folder, f"f1-{stem_of(part)}")


def draw_panel(
    folder: Path, rows: Sequence[Sequence[tuple[Any, str]]], heads: Sequence[str], stem: str
) -> list[Path]:
    """Draw a grid of images with captions.

    Args:
        folder: output folder.
        rows: per row its images, (H, W, 3) uint8, with their captions.
        heads: titles of the columns.
        stem: stem of the file names.

    Returns:
        The files; empty without rows.
    """
    if not rows:
        return []
    across = max(len(row) for row in rows)
    figure = _figure(1.9 * across, 2.15 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for line, axes_row in zip(rows, grid, strict=True):
        for column, axes in enumerate(axes_row):
            axes.axis("off")
            if column >= len(line):
                continue
            picture, caption = line[column]
            axes.imshow(picture, interpolation="antialiased")
            axes.text(
                0.5, -0.03, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7
            )
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=8)
    return _save(figure, folder, stem, dpi=200)


def _panels(
    folder: Path,
    part: GridResults,
    panel: Callable[[Any, Floats, Floats], None],
    x: str,
    y: str,
    kind: str,
) -> list[Path]:
    """Draw one small plot per cell, for at most `_MOST_PANELS` cells, the best ones."""
    errors = part.errors
    order = [index for index, row in enumerate(errors.signed) if np.isfinite(row).any()]
    if len(order) > _MOST_PANELS:
        maes = [row.mae for row in part.rows]  # not None if any image was scored
        order = sorted(order, key=lambda i: (maes[i] is None, maes[i] or 0.0))[:_MOST_PANELS]
    if not order:
        return []
    columns = min(_COLUMNS, len(order))
    rows = math.ceil(len(order) / columns)
    figure = _figure(0.6 + 2.5 * columns, 0.7 + 2.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    labels = part.labels()
    for axes, index in zip(grid, order, strict=False):
        scored = np.isfinite(errors.signed[index])
        panel(axes, errors.truth[scored], errors.signed[index][scored])
        axes.set_title(labels[index], fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in grid[len(order) :]:
        axes.axis("off")
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    figure.suptitle(part.title, fontsize=10)
    return _save(figure, folder, f"{kind}-{stem_of(part)}")


def _single_axes(part: GridResults, what: str) -> tuple[Figure, Any]:
    figure = _figure(7.5, 4.2)
    axes = figure.add_subplot()
    axes.set_title(f"{part.title}: {what}", fontsize=10)
    return figure, axes


def _style(index: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
        "marker": _MARKS[index % len(_MARKS)],
        "markersize": 4,
        "linewidth": 1.3,
    }


def _legend(axes: Any, lines: int) -> None:
    """Add a legend, beside the plot if it has many lines and would cover them."""
    if lines > 5:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    else:
        axes.legend(fontsize=8, frameon=False)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def stem_of(part: GridResults) -> str:
    """Return the stem of a dataset's file names."""
    return part.dataset if part.protocol == "v1" else f"{part.dataset}-{part.protocol}"


def _save(figure: Figure, folder: Path, stem: str, *, dpi: int = 150) -> list[Path]:
    """Write a figure as PNG and SVG; the same figure gives the same bytes.

    Raises:
        UserError: the folder cannot be written.
    """
    files = []
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names may contain dollars
    # Keep text as text in the SVG, which makes it searchable and small.
    with rc_context({"svg.hashsalt": "cellbench", "svg.fonttype": "none"}):
        for form, options in (("png", {"dpi": dpi}), ("svg", {"metadata": {"Date": None}})):
            content = io.BytesIO()
            figure.savefig(content, format=form, **options)
            path = folder / f"{stem}.{form}"
            write_atomically(path, content.getvalue())
            files.append(path)
    return files
