"""The page with all rows of all sets in one table that sorts and filters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cellbench.ranking.published import Published
from cellbench.ranking.rows import PROTOCOLS, Row, published_rows
from cellbench.ranking.tables import COLUMNS, Column, plain
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
    rows = [_row(e, table, "") for table in results.tables for e in table.experiments]
    slugs = {id(run): e.slug for t in results.tables for e in t.experiments for run in e.runs}
    for dataset, parts in by_split.items():
        for split, own in parts.items():
            for table in tables_of(own, [r for r in results.runs[dataset] if r.split == split]):
                for e in table.experiments:
                    slug = slugs.get(id(e.runs[0])) if e.runs else None
                    rows.append(_row(e, table, str(split), slug))
    sets = list(dict.fromkeys(table.dataset for table in results.tables))
    numbers = [number for number in published if number.dataset in sets]
    rows += [_paper(row) for row in published_rows(numbers)]
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


def _row(e: Experiment, table: SetTable, split: str, slug: str | None = None) -> list[Any]:
    row = e.row
    href = f"{table.folder}/methods/{slug or e.slug}.html" if slug or not split else ""
    return [
        row.dataset,
        row.protocol,
        split,
        e.status,
        href,
        plain(row.note),
        *_texts(row),
        row.train_s,
        row.parameters,
    ]


def _paper(row: Row) -> list[Any]:
    return [
        row.dataset,
        row.protocol,
        "",
        "published",
        "",
        plain(row.note),
        *_texts(row),
        None,
        None,
    ]


def _texts(row: Row) -> Iterator[Any]:
    yield plain(row.method)
    yield [column.text(row) for column in COLUMNS]
    yield [_key(column, row) for column in COLUMNS]


def _key(column: Column, row: Row) -> float | str | None:
    """What a row is sorted by in a column; None for what is not known."""
    name = f"{column.field}_low" if column.kind == "span" else column.field
    value = getattr(row, name)
    if isinstance(value, tuple):
        return len(value)
    if isinstance(value, float):
        return round(value, 6)
    return plain(value) if isinstance(value, str) else value


def _summary(table: SetTable) -> dict[str, Any]:
    best = table.ranked[0] if table.ranked else None
    return {
        "dataset": table.dataset,
        "protocol": table.protocol,
        "folder": table.folder,
        "simulated": table.simulated,
        "best": None
        if best is None
        else {"slug": best.slug, "method": best.row.method, "text": f"{best.row.mae:.2f}"},
    }
