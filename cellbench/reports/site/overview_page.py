"""The page with all rows of all sets in one table that sorts and filters."""

from collections.abc import Mapping, Sequence
from typing import Any

from cellbench.ranking.people import people_rows
from cellbench.ranking.published import Published
from cellbench.ranking.rows import PROTOCOLS, Row, published_rows
from cellbench.ranking.tables import COLUMNS, plain
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import Experiment, Results, SetTable, tables_of

# Title of a column and whether less is better; the first is what ranks.
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
        writer: of the site.
        results: of all sets.
        by_split: by set and split the rows of that split alone.
        published: numbers of papers.
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
    """What the page's program shows; its fields are described in assets/overview.js."""
    titles = [column.title for column in COLUMNS]
    rows = [_row(e, table) for table in results.tables for e in table.experiments]
    found_in = [e for table in results.tables for e in table.experiments]
    place = {id(run): index for index, e in enumerate(found_in) for run in e.runs}
    for dataset, parts in by_split.items():
        for split, own in parts.items():
            for table in tables_of(own, [r for r in results.runs[dataset] if r.split == split]):
                for e in table.experiments:
                    whole = place.get(id(e.runs[0])) if e.runs else None
                    rows.append(_row(e, table, str(split), whole))
    sets = list(dict.fromkeys(table.dataset for table in results.tables))
    numbers = [number for number in published if number.dataset in sets]
    rows += [_beside(row, "people") for row in people_rows(sets)]
    rows += [_beside(row, "published") for row in published_rows(numbers)]
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
    """A row for the page's program.

    Args:
        e: the row.
        table: of its set, or of one split of it.
        split: "" for a row of the splits that all have.
        whole: place of the row that has the runs of this split among others.
    """
    row = e.row
    if whole is not None:
        return [whole, split, e.status, plain(row.note), _texts(row), _rounded(row.train_s)]
    href = "" if split else f"{table.folder}/methods/{e.slug}.html"
    cost = [_rounded(row.train_s), row.parameters]
    facts = [row.dataset, row.protocol, href, plain(row.method)]
    return [None, split, e.status, plain(row.note), _texts(row), *cost, *facts]


def _beside(row: Row, status: str) -> list[Any]:
    facts = [row.dataset, row.protocol, "", plain(row.method)]
    return [None, "", status, plain(row.note), _texts(row), None, None, *facts]


def _texts(row: Row) -> str:
    """The texts of all columns but the method's, whose name a row has apart."""
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
