"""Overview page: all rows of all datasets in one table with sorting and filters."""

from collections.abc import Mapping, Sequence
from typing import Any

from cellbench.ranking.people import people_rows
from cellbench.ranking.published import Published
from cellbench.ranking.rows import PROTOCOLS, Row, published_rows
from cellbench.ranking.tables import COLUMNS, plain
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import Experiment, Results, SetTable, tables_of

# Column titles and whether lower is better; rows are ranked by the first.
METRICS = (
    ("MAE", True),
    ("RMSE", True),
    ("MAPE", True),
    ("R²", False),
    ("F1", False),
    ("GAME(3)", True),
)


def write_overview(
    writer: PageWriter,
    results: Results,
    by_split: Mapping[str, Mapping[int, Sequence[Row]]],
    published: Sequence[Published],
    method_pages: Sequence[tuple[str, str]],
) -> None:
    """Write index.html.

    Args:
        writer: page writer of the site.
        results: results on all datasets.
        by_split: by dataset and split, the rows of that split alone.
        published: published numbers.
        method_pages: names of the methods and of their pages.
    """
    data = overview_data(results, by_split, published)
    if writer.is_current("index.html", (data, results.problems, method_pages)):
        return
    writer.write(
        "index.html",
        "overview.html",
        scripts=("svg.js", "overview.js"),
        data=data,
        records=sum(map(len, results.runs.values())),
        methods=len(results.methods),
        sets=[_summary(table) for table in results.tables],
        method_pages=method_pages,
        problems=results.problems,
    )


def overview_data(
    results: Results,
    by_split: Mapping[str, Mapping[int, Sequence[Row]]],
    published: Sequence[Published],
) -> dict[str, Any]:
    """Return the data of the page's script; assets/overview.js describes the fields."""
    titles = [column.title for column in COLUMNS]
    rows = [_row(e, table) for table in results.tables for e in table.experiments]
    experiments = [e for table in results.tables for e in table.experiments]
    row_of_run = {id(run): index for index, e in enumerate(experiments) for run in e.runs}
    for dataset, parts in by_split.items():
        for split, own in parts.items():
            for table in tables_of(own, [r for r in results.runs[dataset] if r.split == split]):
                for e in table.experiments:
                    whole = row_of_run.get(id(e.runs[0])) if e.runs else None
                    rows.append(_row(e, table, str(split), whole))
    sets = list(dict.fromkeys(table.dataset for table in results.tables))
    numbers = [number for number in published if number.dataset in sets]
    rows += [_reference_row(row, "people") for row in people_rows(sets)]
    rows += [_reference_row(row, "published") for row in published_rows(numbers)]
    found = {table.protocol for table in results.tables}
    ordered = [*(p for p in PROTOCOLS if p in found), *sorted(found - {*PROTOCOLS})]
    splits = sorted({split for parts in by_split.values() for split in parts})
    return {
        "columns": [(column.title, column.left) for column in COLUMNS],
        "metrics": [(title, titles.index(title), less) for title, less in METRICS],
        "sets": sets,
        "protocols": ordered or ["v1"],
        "splits": [str(split) for split in splits],
        "rows": rows,
    }


def _row(e: Experiment, table: SetTable, split: str = "", whole: int | None = None) -> list[Any]:
    """Return a row for the page's script.

    Args:
        e: experiment of the row.
        table: table of its dataset, or of one split of it.
        split: split number; "" for a row of all compared splits.
        whole: index of the row that includes the runs of this split; None for none.
    """
    row = e.row
    if whole is not None:
        return [whole, split, e.status, plain(row.note), _texts(row), _rounded(row.train_s)]
    href = "" if split else f"{table.folder}/methods/{e.slug}.html"
    cost = [_rounded(row.train_s), row.parameters]
    facts = [row.dataset, row.protocol, href, plain(row.method)]
    return [None, split, e.status, plain(row.note), _texts(row), *cost, *facts]


def _reference_row(row: Row, status: str) -> list[Any]:
    facts = [row.dataset, row.protocol, "", plain(row.method)]
    return [None, "", status, plain(row.note), _texts(row), None, None, *facts]


def _texts(row: Row) -> str:
    """Join the texts of all columns except the method, which a row has as a separate field."""
    return "\t".join("" if c.field == "method" else c.text(row) for c in COLUMNS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _summary(table: SetTable) -> dict[str, Any]:
    best = table.ranked[0] if table.ranked else None
    share = sum(e.row.rank == best.row.rank for e in table.ranked[1:]) if best else 0
    return {
        "dataset": table.dataset,
        "protocol": table.protocol,
        "folder": table.folder,
        "simulated": table.simulated,
        "best": None
        if best is None
        else {
            "slug": best.slug,
            "method": best.row.method,
            "text": f"{best.row.mae:.2f}",
            "share": share,
            "alone": not share and len(table.ranked) > 1,
        },
    }
