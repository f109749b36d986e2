"""Overview page: all rows of all datasets in one table with sorting and filters."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cellbench.ranking.people import people_rows
from cellbench.ranking.published import Published
from cellbench.ranking.rows import PROTOCOLS, Row, published_rows
from cellbench.ranking.tables import COLUMNS, plain
from cellbench.reports.site.page_writer import PageWriter
from cellbench.reports.site.ranked_tables import Results, SetTable, tables_of

# Column titles and whether lower is better; rows are ranked by the first.
METRICS = (
    ("MAE", True),
    ("RMSE", True),
    ("MAPE", True),
    ("R²", False),
    ("F1", False),
    ("GAME(3)", True),
)


class _ScriptRow(NamedTuple):
    """Row for the page's script, which reads the fields by position.

    Attributes:
        whole: index of the row that includes the runs of this split; None for none.
        split: split number; "" for a row of all compared splits, of people or of a paper.
        status: status of the experiment; "people" or "published" for numbers of these.
        note: why it is not ranked, or another remark.
        texts: texts of all columns, as of `_texts`.
        train_s: seconds per run; None if unknown.
        parameters: number of parameters; None if unknown.
        dataset: dataset name.
        protocol: protocol name.
        href: page of the experiment, relative to the site's folder; empty for none.
        method: name of the method.
    """

    whole: int | None
    split: str
    status: str
    note: str
    texts: str
    train_s: float | None
    parameters: int | None
    dataset: str
    protocol: str
    href: str
    method: str

    def fields(self) -> list[Any]:
        """Return the fields that the script needs.

        These are all, or for a row of one split the six before `parameters`: the script takes the
        others from the row at index `whole`.
        """
        return list(self if self.whole is None else self[: self._fields.index("parameters")])


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
    experiments = [(e, table) for table in results.tables for e in table.experiments]
    rows = [
        _row(e.row, e.status, href=f"{table.folder}/methods/{e.slug}.html")
        for e, table in experiments
    ]
    row_of_run = {id(run): index for index, (e, _) in enumerate(experiments) for run in e.runs}
    for dataset, parts in by_split.items():
        for split, own in parts.items():
            for table in tables_of(own, [r for r in results.runs[dataset] if r.split == split]):
                for e in table.experiments:
                    whole = row_of_run.get(id(e.runs[0])) if e.runs else None
                    rows.append(_row(e.row, e.status, split=str(split), whole=whole))
    sets = list(dict.fromkeys(table.dataset for table in results.tables))
    numbers = [number for number in published if number.dataset in sets]
    rows += [_row(row, "people") for row in people_rows(sets)]
    rows += [_row(row, "published") for row in published_rows(numbers)]
    found = {table.protocol for table in results.tables}
    ordered = [*(p for p in PROTOCOLS if p in found), *sorted(found - {*PROTOCOLS})]
    splits = sorted({split for parts in by_split.values() for split in parts})
    return {
        "columns": [(column.title, column.left) for column in COLUMNS],
        "metrics": [(title, titles.index(title), less) for title, less in METRICS],
        "sets": sets,
        "protocols": ordered or ["v1"],
        "splits": [str(split) for split in splits],
        "rows": [row.fields() for row in rows],
    }


def _row(
    row: Row, status: str, *, whole: int | None = None, split: str = "", href: str = ""
) -> _ScriptRow:
    """Return a row for the page's script; see `_ScriptRow` for the arguments."""
    return _ScriptRow(
        whole=whole,
        split=split,
        status=status,
        note=plain(row.note),
        texts=_texts(row),
        train_s=_rounded(row.train_s),
        parameters=row.parameters,
        dataset=row.dataset,
        protocol=row.protocol,
        href=href,
        method=plain(row.method),
    )


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
