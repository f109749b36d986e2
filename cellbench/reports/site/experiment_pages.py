"""Pages of experiments (a method on a set) and of methods (on all sets)."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from cellbench import plugin_index
from cellbench.files.writing import safe_id
from cellbench.metrics.counting import bland_altman
from cellbench.ranking.rows import base_method
from cellbench.ranking.statistics import image_errors
from cellbench.ranking.tables import COLUMNS, SIMULATED
from cellbench.records.summaries import Run
from cellbench.reports.site.charts import Dot, curves, limit_lines, scatter
from cellbench.reports.site.kept_results import RecordFacts, facts_of
from cellbench.reports.site.page_writer import PageWriter, relative_link
from cellbench.reports.site.ranked_tables import Experiment, SetTable, records_of
from cellbench.reports.site.table_rows import image_rows

# Columns whose numbers link to their records.
_LINKED = ("MAE", "RMSE", "MAPE", "R²", "Bias", "F1", "GAME(3)", "SD splits", "SD seeds")
_RIVALS = 3


def write_experiment_page(writer: PageWriter, table: SetTable, experiment: Experiment) -> None:
    """Write the page of one method on one set, with its records."""
    path = f"{table.folder}/methods/{experiment.slug}.html"
    rivals = []
    if experiment.row.rank is not None:
        rivals = [e for e in table.ranked[: _RIVALS + 1] if e is not experiment][:_RIVALS]
    rival_names = [(e.slug, e.row.method) for e in rivals]
    if writer.is_current(path, (experiment.shown, experiment.stamps, rival_names)):
        return
    facts = facts_of(table, experiment) if experiment.runs else None
    images = _images(experiment)
    page = writer.folder / path
    writer.write(
        path,
        "experiment.html",
        scripts=("tables.js",),
        table=table,
        row=experiment.row,
        slug=experiment.slug,
        method_slug=method_slug(experiment.row.method),
        simulated=SIMULATED,
        columns=[column for column in COLUMNS if column.title != "Method"],
        linked=_LINKED,
        runs=experiment.runs,
        worst=images[0] if images else None,
        rivals=rivals,
        charts=_charts(images, facts) if experiment.runs else [],
        images=image_rows(images),
        records=[record_links(run, page) for run in experiment.runs],
        parts=[_described(*part) for part in facts.parts] if facts else [],
        config=Markup(escape(facts.config)) if facts else "",
    )


def write_method_page(
    writer: PageWriter, name: str, found: Sequence[tuple[SetTable, Experiment]]
) -> None:
    """Write the page of a method: its results on all sets, and every record."""
    path = f"methods/{method_slug(name)}.html"
    runs = [run for _, experiment in found for run in experiment.runs]
    by_title = {column.title: column for column in COLUMNS}
    results = [
        {
            "e": e,
            "folder": table.folder,
            "rank": by_title["#"].text(e.row),
            "mae": by_title["MAE"].text(e.row),
            "span": by_title["95 %"].text(e.row),
        }
        for table, e in found
    ]
    numbers = [(each["folder"], each["rank"], each["mae"], each["span"]) for each in results]
    about = [(e.slug, e.status, e.row.method_title, e.row.note, e.stamps) for _, e in found]
    if writer.is_current(path, (numbers, about)):
        return
    first = next((e for _, e in found if e.row.rank is not None and e.runs), None)
    first = first or next((e for _, e in found if e.runs), None)
    records = records_of(first.runs[:1]) if first is not None else []
    config = records[0].config if records else {}
    facts, model = (_section(config, name) for name in ("method", "model"))
    kind = model.get("type")
    entry = _entry("counter", kind if isinstance(kind, str) else None)
    writer.write(
        path,
        "method.html",
        scripts=("tables.js",),
        name=name,
        title=found[0][1].row.method_title,
        source=str(facts.get("source") or (entry.source if entry else "")),
        differs=differs(entry.docstring) if entry else "",
        results=results,
        records=[record_links(run, writer.folder / path) for run in runs],
    )


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a config from any source; empty if it is missing or not a dict."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def method_slug(name: str) -> str:
    """Return the page name of a method, without the keys that `--set` changed."""
    return safe_id(base_method(name))


def record_links(run: Run, page: Path) -> dict[str, Any]:
    """Return a run, the link to its record, and the argument that names it in a command."""
    file = run.path or Path(run.file)
    try:
        shown = file.absolute().relative_to(Path.cwd())
    except ValueError:
        shown = file
    text = shown.as_posix()
    plain_name = all(c.isalnum() or c in "/._-+" for c in text)
    return {
        "run": run,
        "href": relative_link(file, page),
        "argument": text if plain_name else run.run_id[:16],
    }


def differs(docstring: str) -> str:
    """Return the `Differs:` section of a docstring; empty if there is none."""
    _, found, after = docstring.partition("Differs:")
    return " ".join(after.partition("\n\n")[0].split()) if found else ""


def _images(experiment: Experiment) -> list[dict[str, Any]]:
    """List every scored image, the largest error first."""
    errors = image_errors([experiment.runs])
    found = [
        {
            "id": image_id,
            "page": safe_id(image_id),
            "truth": float(errors.truth[column]),
            "signed": float(errors.signed[0, column]),
            "error": float(errors.absolute[0, column]),
        }
        for column, image_id in enumerate(errors.image_ids)
    ]
    return sorted(found, key=lambda each: (-each["error"], each["id"]))


def _charts(
    images: Sequence[dict[str, Any]], facts: RecordFacts | None
) -> list[tuple[str, Markup]]:
    """Draw the charts of an experiment; return titles and charts without empty ones."""
    truth = np.array([each["truth"] for each in images])
    predicted = truth + np.array([each["signed"] for each in images])
    links = [f"../images/{each['page']}.html" for each in images]
    labels = [
        f"{each['id']}: {p:.1f} of {each['truth']:g}"
        for each, p in zip(images, predicted, strict=True)
    ]

    def dots(x: Any, y: Any) -> list[Dot]:
        values = zip(x.tolist(), y.tolist(), labels, links, strict=True)
        return [Dot(*each) for each in values]

    agreement = bland_altman(truth.tolist(), predicted.tolist()) if len(images) else None
    limits = limit_lines(agreement)
    f1, losses, checks = ([], [], []) if facts is None else (facts.f1, facts.losses, facts.checks)
    found = [
        (
            "Counted against annotated; on the line they are equal",
            scatter(dots(truth, predicted), title="Counted against annotated", x="annotated cells",
                    y="counted cells", diagonal=True),
        ),
        (
            "Bland and Altman: bias and the limits that hold 95 % of differences",
            scatter(dots((truth + predicted) / 2, predicted - truth), title="Bland-Altman",
                    x="mean of counted and annotated", y="counted − annotated", lines=limits),
        ),
        (
            "Absolute error against density",
            scatter(dots(truth, np.array([each["error"] for each in images])),
                    title="Absolute error against density", x="annotated cells an image",
                    y="absolute error, cells"),
        ),
        (
            "F1 over the match radius",
            curves([("F1", f1)], title="F1 over the match radius",
                   x="match radius, px", y="F1", most=1.0),
        ),
        (
            "Error on the validation images during training",
            curves(checks, title="Validation error", x="training step",
                   y="validation MAE, cells"),
        ),
        (
            "Loss during training",
            curves(losses, title="Training loss", x="training step", y="loss"),
        ),
    ]  # fmt: skip
    return [(title, chart) for title, chart in found if chart]


@cache
def _described(role: str, name: str, distribution: str) -> dict[str, str]:
    """Describe a part; if it is not installed, by the package that it came from."""
    entry = _entry(role, name)
    return {
        "role": role,
        "name": name,
        "summary": entry.summary if entry else f"from {distribution}",
        "source": entry.source if entry else "",
        "differs": differs(entry.docstring) if entry else "",
    }


@cache
def _entry(role: str | None, name: str | None) -> plugin_index.Entry | None:
    if role is None or name is None:
        return None
    found = plugin_index.find(role, name)
    return found[0] if len(found) == 1 else None
