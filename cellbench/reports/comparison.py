"""Report of a grid: the paper's tables, effects, paired tests and figures."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import write_atomically
from cellbench.ranking.paired_tests import Comparison, compare_pairs
from cellbench.ranking.published import published_file, read_published
from cellbench.ranking.tables import SIMULATED, markdown
from cellbench.records.summaries import pack_run
from cellbench.reports.effects import Effect, grid_effects
from cellbench.reports.grid_results import GridResults, GridRun, measured_sets
from cellbench.reports.grid_sheets import (
    cells_sheet,
    comparisons_sheet,
    effects_sheet,
    grid_sheet,
)
from cellbench.reports.paper_tables import LAYOUTS, paper_sheet
from cellbench.reports.sheets import Sheet

NO_PICTURES = (
    "No pictures were drawn: matplotlib is not installed; pip install 'cellbench[plots]' and give "
    "the same command again."
)

# Most pairs that are all listed; of more, only those with a significant difference.
_MOST_PAIRS = 15


def write_report(
    folder: Path,
    *,
    grid_name: str,
    layout: str | None,
    runs: Sequence[GridRun],
    images: Mapping[str, Sequence[str]] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write the tables and figures of a grid.

    Files that were made from the same records by the same code are not written again.

    Args:
        folder: output folder; created if it does not exist.
        grid_name: stem of the grid file, used in the file names.
        layout: "table2" to "table5" for the paper's tables, None for a factorial grid.
        runs: finished runs on any datasets; each dataset and protocol has its own section of the
            page, and simulated ones are marked.
        images: image ids of the panel by dataset; chosen automatically for other datasets.
        say: called with a sentence if figures could not be drawn.

    Returns:
        The files, the Markdown page first, then the same table as CSV and LaTeX; empty without
        runs.

    Raises:
        UserError: the folder cannot be written, or a record is missing.
    """
    if not runs:
        return []
    key = _content_key(grid_name, layout, runs, images)
    kept = _unchanged_files(folder, key)
    if kept is not None:
        return kept
    sets = measured_sets(runs)
    # Methods have no reference level, so they are compared in pairs only.
    effects = [[] if layout == "table2" else grid_effects(part.cells, part.errors) for part in sets]
    pairs = [compare_pairs(part.errors) for part in sets]
    if layout is None:
        main, caption = grid_sheet(sets), f"Grid {grid_name}"
    else:
        paper = LAYOUTS[layout]
        published = read_published(published_file())
        main = paper_sheet(paper, sets, published)
        caption = f"{paper.caption}: measured here, and as published. MSE is the root (RMSE)."
    pictures = _pictures(folder, sets, effects, images)
    if pictures is None:
        say(NO_PICTURES)
    page = _page(grid_name, layout, main, sets, effects, pairs, pictures)
    files = [
        _write(folder / f"{grid_name}.md", page),
        _write(folder / f"{grid_name}.csv", main.csv()),
        _write(folder / f"{grid_name}.tex", main.latex(caption=caption)),
        _write(folder / "effects.csv", _concatenated_csv(_effect_sheets(sets, effects))),
        _write(folder / "pairs.csv", _concatenated_csv(_pair_sheets(sets, pairs))),
        *(pictures or []),
    ]
    if pictures is not None:
        document = {"key": key, "files": [path.name for path in files]}
        _write(folder / "made-from.json", json.dumps(document, indent=1) + "\n")
    return files


def _page(
    grid_name: str,
    layout: str | None,
    main: Sheet,
    sets: Sequence[GridResults],
    effects: Sequence[Sequence[Effect]],
    pairs: Sequence[Sequence[Comparison]],
    pictures: Sequence[Path] | None,
) -> str:
    lines = [f"# {markdown(grid_name)}", ""]
    if any(part.simulated for part in sets):
        lines += [f"**{SIMULATED}**", ""]
    if layout is not None:
        lines += [
            f"Table {LAYOUTS[layout].table} of the DLA-Count paper in its layout; MSE is the root "
            "of the mean squared error. The published numbers were measured on other splits, by a "
            "rule of selection that is not known, and rank with nothing here.",
            "",
        ]
    lines += [*main.markdown(), ""]
    for part, part_effects, part_pairs in zip(sets, effects, pairs, strict=True):
        lines += _set_lines(part, part_effects, part_pairs)
    if pictures is None:
        lines += [markdown(NO_PICTURES), ""]
    elif pictures:
        shown = [path for path in pictures if path.suffix == ".png"]
        panels = [path for path in shown if path.stem.startswith("panel-")]
        plots = [path for path in shown if path not in panels]
        lines += ["## Pictures", "", *(f"![{path.stem}]({path.name})\n" for path in plots)]
        if panels:
            named = ", ".join(f"[{path.name}]({path.name})" for path in panels)
            lines += [f"With images of the sets, whose licences are not known: {named}", ""]
    lines += [
        "MAE: mean over test images, each averaged over seeds and splits. Intervals: 95 %, by "
        "bootstrap over whole images (of MBM slides), paired for differences; they do not cover "
        "the chance in training, which the deviation over seeds shows. Written by "
        "`cellbench compare` from the records.",
    ]
    return "\n".join(lines) + "\n"


def _set_lines(
    part: GridResults, effects: Sequence[Effect], pairs: Sequence[Comparison]
) -> list[str]:
    word = part.errors.word
    count = len(part.errors.image_ids)
    of = f"{part.errors.cluster_count} {word}s" if word != "image" else ""
    lines = [f"## {markdown(part.title)}", ""]
    lines += [f"{count} test images{f' of {of}' if of else ''}.", ""]
    lines += [*cells_sheet(part).markdown(), ""]
    notes = [
        f"{label}: {row.note}."
        for label, row in zip(part.labels(), part.rows, strict=True)
        if row.note
    ]
    for note in [*notes, *part.left_out]:
        lines += [markdown(note), ""]
    averaged = [effect for effect in effects if not effect.within]
    single = [effect for effect in effects if effect.within]
    if averaged:
        lines += ["### What each factor adds", ""]
        lines += [*effects_sheet(averaged).markdown(), ""]
    if single:
        lines += ["### The same in every combination", ""]
        lines += [*effects_sheet(single).markdown(), ""]
    if pairs:
        lines += ["### Pairs", "", *_pair_lines(part, pairs)]
    return lines


def _pair_lines(part: GridResults, pairs: Sequence[Comparison]) -> list[str]:
    untested = [pair for pair in pairs if pair.p is None]
    if len(untested) == len(pairs):
        reasons = sorted({pair.reason for pair in untested})
        return [
            f"Wilcoxon's test cannot tell any of the {len(pairs)} pairs from chance: "
            f"{'; '.join(reasons)}. The intervals of the differences are in pairs.csv.",
            "",
        ]
    significant = [pair for pair in pairs if pair.p_holm is not None and pair.p_holm <= 0.05]
    shown = list(pairs) if len(pairs) <= _MOST_PAIRS else significant
    lines = [
        f"Paired Wilcoxon tests of the {part.errors.word}s' errors, Holm's correction "
        f"over {len(pairs) - len(untested)} pairs: {len(significant)} differ at the 5 % level."
        + (f" {len(untested)} could not be tested." if untested else ""),
        "",
    ]
    if shown:
        lines += [*comparisons_sheet(shown, part.labels()).markdown(), ""]
    return lines


def _effect_sheets(sets: Sequence[GridResults], effects: Sequence[Sequence[Effect]]) -> list[Sheet]:
    return [
        effects_sheet(found, dataset=part.title) for part, found in zip(sets, effects, strict=True)
    ]


def _pair_sheets(sets: Sequence[GridResults], pairs: Sequence[Sequence[Comparison]]) -> list[Sheet]:
    return [
        comparisons_sheet(found, part.labels(), dataset=part.title)
        for part, found in zip(sets, pairs, strict=True)
    ]


def _concatenated_csv(sheets: Sequence[Sheet]) -> str:
    """Concatenate sheets with the same columns into one CSV."""
    rows = tuple(row for sheet in sheets for row in sheet.rows)
    return Sheet(sheets[0].heads, rows, sheets[0].left).csv()


def _pictures(
    folder: Path,
    sets: Sequence[GridResults],
    effects: Sequence[Sequence[Effect]],
    images: Mapping[str, Sequence[str]] | None,
) -> list[Path] | None:
    """Draw all figures and return their files; None if matplotlib is not installed."""
    try:
        from cellbench.reports import plots
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("matplotlib"):
            raise
        return None
    from cellbench.reports.panels import areas, f1_curves, panel_rows, stored_set

    files: list[Path] = []
    for part, part_effects in zip(sets, effects, strict=True):
        stored = stored_set(part)
        stem = plots.stem_of(part)
        files += plots.draw_effects(folder, part_effects, title=part.title, stem=f"effects-{stem}")
        files += plots.draw_counts(folder, part)
        files += plots.draw_agreement(folder, part)
        files += plots.draw_density(folder, part, None if stored is None else areas(stored))
        files += plots.draw_f1(folder, part, f1_curves(part))
        if stored is not None:
            chosen = None if images is None else images.get(part.dataset)
            rows, heads = panel_rows(part, stored, chosen)
            files += plots.draw_panel(folder, rows, heads, f"panel-{stem}")
    return files


def _content_key(
    grid_name: str,
    layout: str | None,
    runs: Sequence[GridRun],
    images: Mapping[str, Sequence[str]] | None,
) -> str:
    """Hash what determines the report: records, code, and which datasets are on disk."""
    from cellbench.data.stored_set import is_on_disk

    code = sorted(
        (f"{folder}/{path.name}", path.stat().st_mtime_ns)
        for folder in ("ranking", "reports")
        for path in (Path(__file__).parents[1] / folder).glob("*.py")
    )
    records = [(entry.levels, hashlib.sha256(pack_run(entry.run)).hexdigest()) for entry in runs]
    sets = sorted({entry.run.dataset for entry in runs})
    chosen = None if images is None else sorted((k, list(v)) for k, v in images.items())
    known = (grid_name, layout, code, records, [(s, is_on_disk(s)) for s in sets], chosen)
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _unchanged_files(folder: Path, key: str) -> list[Path] | None:
    try:
        document = read_json(folder / "made-from.json")
        files = [folder / Path(str(name)).name for name in document["files"]]
        same = document["key"] == key and all(path.is_file() for path in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if same else None


def _write(path: Path, text: str) -> Path:
    try:
        write_atomically(path, text.encode("utf-8"))
    except UserError as error:
        cause = error.__cause__
        reason = (getattr(cause, "strerror", None) or str(cause)).lower()
        raise UserError(
            f"The report {path} could not be written ({reason}); make room or name another "
            "folder with --store."
        ) from error
    return path
