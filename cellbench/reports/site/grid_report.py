"""Report of a grid for a paper: one HTML page, and the same numbers as LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cellbench.data.splits import PROTOCOLS
from cellbench.errors import UserError
from cellbench.files.writing import safe_id, write_atomically
from cellbench.metrics.counting import bland_altman
from cellbench.ranking.paired_tests import Comparison, compare_pairs
from cellbench.ranking.published import published_file, read_published
from cellbench.ranking.tables import SIMULATED, ranges
from cellbench.reports.effects import Effect, grid_effects
from cellbench.reports.f1_curves import mean_f1_curve
from cellbench.reports.grid_results import GridResults, GridRun, measured_sets
from cellbench.reports.grid_sheets import (
    cells_sheet,
    comparisons_sheet,
    effect_label,
    effects_sheet,
    grid_sheet,
)
from cellbench.reports.paper_tables import LAYOUTS, paper_sheet
from cellbench.reports.sheets import Sheet, latex
from cellbench.reports.site.charts import Dot, Span, curves, limit_lines, scatter, spans
from cellbench.reports.site.page_writer import render_page
from cellbench.reports.site.ranked_tables import records_of
from cellbench.version import __version__

# Most cells with charts of their own, the best ones.
_MOST_CHARTS = 6
_VERSIONS = ("cellbench", "torch", "torchvision", "numpy", "python")


@dataclass(frozen=True, slots=True)
class ReportPart:
    """A grid with factors: its title, its layout and its finished runs.

    Attributes:
        name: stem of the grid file.
        title: title for display.
        layout: "table2" to "table5" for the paper's tables; None for a factorial grid.
        runs: finished runs.
    """

    name: str
    title: str
    layout: str | None
    runs: Sequence[GridRun]


def write_grid_report(folder: Path, name: str, parts: Sequence[ReportPart]) -> list[Path]:
    """Write the page and the LaTeX file of a grid.

    Args:
        folder: output folder; created if it does not exist.
        name: name of the grid, used in the file names.
        parts: parts of the grid; those without finished runs are left out.

    Returns:
        The HTML page and the LaTeX file.

    Raises:
        UserError: no part has finished runs, or the folder cannot be written.
    """
    known = [part for part in parts if part.runs]
    if not known:
        raise UserError(
            f"No run of the grid {name!r} is finished on the sets that are on disk; `cellbench "
            f"compare {name}` runs it."
        )
    page, tex = folder / f"{safe_id(name)}.html", folder / f"{safe_id(name)}.tex"
    shown = [_part_content(part) for part in known]
    text = render_page("report.html", root="", scripts=("tables.js",), name=name, parts=shown)
    write_atomically(page, text.encode("utf-8"), elsewhere="--out")
    write_atomically(tex, _tex(name, shown).encode("utf-8"), elsewhere="--out")
    return [page, tex]


def protocol_sentence(part: GridResults) -> str:
    """Describe how the numbers of a dataset were measured, as a paper would state it."""
    protocol = PROTOCOLS.get(part.protocol)
    what = f" ({protocol.summary})" if protocol is not None else ""
    held_out = protocol is not None and protocol.held_out
    once = " The test part was read once, after training." if held_out else ""
    runs = [run for own in part.runs for run in own]
    splits = ranges(sorted({run.split for run in runs}))
    seeds = ranges(sorted({run.seed for run in runs}))
    word = part.errors.word
    count = len(part.errors.image_ids)
    of = f" from {part.errors.cluster_count} {word}s" if word != "image" else ""
    return (
        f"Measured on the {count} test images{of} of {part.title} under protocol {part.protocol}"
        f"{what}, splits {splits}, seeds {seeds}. The absolute errors of an image are averaged "
        "over seeds, then over splits, and images weigh the same. Intervals: 95 %, bootstrap over "
        "whole "
        f"{word}s, paired for differences; tests: Wilcoxon's signed-rank test over {word}s with "
        f"Holm's correction.{once}"
    )


def versions_sentence(part: GridResults) -> str:
    """State the software versions in the records of a dataset."""
    runs = [run for own in part.runs for run in own]
    found: dict[str, set[str]] = {}
    for record in records_of(runs):
        for key in _VERSIONS:
            value = record.environment.get(key)
            if isinstance(value, str):
                found.setdefault(key, set()).add(value)
    listed = [f"{key} {' and '.join(sorted(values))}" for key, values in found.items()]
    stated = ", ".join(listed) or "versions that its records do not state"
    return f"{len(runs)} records, made with {stated}; tables by cellbench {__version__}."


def _part_content(part: ReportPart) -> dict[str, Any]:
    """Collect the content of page and LaTeX file for a part."""
    sets = measured_sets(part.runs)
    if part.layout is None:
        main, caption = grid_sheet(sets), f"{part.title}."
    else:
        layout = LAYOUTS[part.layout]
        main = paper_sheet(layout, sets, read_published(published_file()))
        caption = f"{layout.caption}: measured here, and as published. MSE is the root (RMSE)."
    return {
        "title": part.title,
        "main": main,
        "caption": caption,
        "sets": [_dataset_content(each, factors=part.layout != "table2") for each in sets],
    }


def _dataset_content(part: GridResults, *, factors: bool) -> dict[str, Any]:
    effects = grid_effects(part.cells, part.errors) if factors else []
    averaged = [effect for effect in effects if not effect.within]
    pairs = compare_pairs(part.errors)
    labels = part.labels()
    sheets: list[tuple[str, Sheet]] = [("Results", cells_sheet(part))]
    if averaged:
        sheets.append(("What each factor adds", effects_sheet(averaged)))
    if pairs:
        sheets.append(("Pairs", comparisons_sheet(pairs, labels)))
    notes = [
        f"{label}: {row.note}." for label, row in zip(labels, part.rows, strict=True) if row.note
    ]
    return {
        "title": part.title,
        "simulated": SIMULATED if part.simulated else "",
        "protocol": protocol_sentence(part),
        "versions": versions_sentence(part),
        "differing": _differing(pairs),
        "sheets": sheets,
        "notes": [*notes, *part.left_out],
        "charts": _charts(part, averaged),
        "records": [
            (label, run.file, run.run_id[:16])
            for label, own in zip(labels, part.runs, strict=True)
            for run in own
        ],
    }


def _differing(pairs: Sequence[Comparison]) -> str:
    """State the number of pairs that differ significantly."""
    tested = [pair for pair in pairs if pair.p_holm is not None]
    if not tested:
        return "No pair of cells could be tested." if pairs else ""
    significant = sum(1 for pair in tested if pair.p_holm is not None and pair.p_holm <= 0.05)
    return f"Of {len(tested)} pairs that could be tested, {significant} differ at the 5 % level."


def _charts(part: GridResults, effects: Sequence[Effect]) -> list[tuple[str, Markup]]:
    """Draw effects, then counts and agreement of the best cells, then F1 by match radius."""
    errors, labels = part.errors, part.labels()
    found = [
        (
            "Change of the MAE in cells, with its 95 % interval; below zero is better",
            spans(
                [Span(effect_label(e), e.estimate, e.low, e.high) for e in effects],
                title="Effects",
                x="change of MAE, cells",
            ),
        )
    ]
    order = sorted(
        range(len(part.rows)), key=lambda i: (part.rows[i].mae is None, part.rows[i].mae or 0.0)
    )
    for index in order[:_MOST_CHARTS]:
        known = [c for c, value in enumerate(errors.signed[index].tolist()) if value == value]
        truth = errors.truth[known]
        counted = truth + errors.signed[index][known]
        names = [errors.image_ids[c] for c in known]
        dots = [Dot(*each) for each in zip(truth.tolist(), counted.tolist(), names, strict=True)]
        found.append(
            (
                f"{labels[index]}: counted against annotated",
                scatter(dots, title="Counted against annotated", x="annotated cells",
                        y="counted cells", diagonal=True),
            )
        )  # fmt: skip
        lines = limit_lines(bland_altman(truth, counted))
        means = ((truth + counted) / 2).tolist()
        dots = [Dot(*each) for each in zip(means, (counted - truth).tolist(), names, strict=True)]
        found.append(
            (
                f"{labels[index]}: Bland and Altman's plot",
                scatter(dots, title="Bland-Altman", x="mean of counted and annotated",
                        y="counted − annotated", lines=lines),
            )
        )  # fmt: skip
    series = [(labels[i], mean_f1_curve(records_of(part.runs[i]))) for i in order[:_MOST_CHARTS]]
    f1 = curves(series, title="F1 over the match radius", x="match radius, px", y="F1", most=1.0)
    found.append(("F1 over the match radius", f1))
    return [(title, chart) for title, chart in found if chart]


def _tex(name: str, parts: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"% Report of the grid {latex(name)}, written by cellbench {__version__} from",
        r"% records; needs \usepackage{booktabs}. Edits are lost when it is written again.",
        "",
    ]
    for part in parts:
        lines += [part["main"].latex(caption=part["caption"])]
        for each in part["sets"]:
            lines += [f"% {latex(each['title'])}", latex(each["protocol"]), ""]
            lines += [latex(each["versions"]), latex(each["differing"]), ""]
            if each["simulated"]:
                lines += [rf"\textbf{{{latex(each['simulated'])}}}", ""]
            for head, sheet in each["sheets"]:
                lines += [sheet.latex(caption=f"{each['title']}: {head.lower()}.")]
            lines += [latex(note) + "\n" for note in each["notes"]]
    return "\n".join(lines) + "\n"
