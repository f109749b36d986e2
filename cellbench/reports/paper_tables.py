"""Tables in the layout of the DLA-Count paper, with measured next to published numbers.

Columns "MSE" hold the root of the mean squared error, as in the paper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellbench.ranking.published import Published
from cellbench.reports.grid_results import GridResults, label_of
from cellbench.reports.sheets import Sheet

_OURS = "Ours"


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a table of the paper.

    Attributes:
        table: number of the table.
        head: title of its first column.
        sets: its datasets, in its order.
        caption: our caption.
    """

    table: int
    head: str
    sets: tuple[str, ...]
    caption: str


LAYOUTS = {
    "table2": Layout(2, "Approaches", ("adi", "mbm", "vgg", "dcc"), "Methods on four data sets"),
    "table3": Layout(3, "Module", ("adi",), "What the modules add on ADI"),
    "table4": Layout(4, "Parameter", ("adi",), "Number of neighbours of KHM on ADI"),
    "table5": Layout(5, "Scale", ("adi",), "Scales of MDGC on ADI"),
}


def paper_sheet(
    layout: Layout, measured: Sequence[GridResults], published: Sequence[Published]
) -> Sheet:
    """Create a table of the paper with two columns for each of its own: measured and published.

    Args:
        layout: layout of the table.
        measured: results of the grid; datasets that the paper lacks get columns, too.
        published: published numbers of any tables.

    Returns:
        The paper's rows in its order, with rows that only the grid has before the last one. Table 2
        ends with the paper's row of improvements of its method over the best other one.
    """
    numbers = {(n.method, n.dataset): n for n in published if n.table == layout.table}
    measured_numbers = {
        (label_of(cell), part.dataset): (row.mae, row.rmse)
        for part in measured
        for cell, row in zip(part.cells, part.rows, strict=True)
    }
    published_numbers = {key: (number.mae, number.rmse) for key, number in numbers.items()}
    labels = _labels([n.method for n in numbers.values()], [label for label, _ in measured_numbers])
    extra = [part.dataset for part in measured if part.dataset not in layout.sets]
    sets = [*layout.sets, *extra]
    heads: list[tuple[str, str]] = [("", layout.head)]
    for name in sets:
        shown = name.upper() if name in layout.sets else name
        for word in ("MAE", "MSE"):
            heads += [(shown, word), (shown, f"{word} published")]
    rows = []
    for label in labels:
        row = [label]
        for name in sets:
            key = (label, name)
            for metric in (0, 1):
                row += [
                    _number(measured_numbers, key, metric, 2),
                    _number(published_numbers, key, metric, 1),
                ]
        rows.append(tuple(row))
    if layout.table == 2:
        rows.append(_improvements(measured_numbers, published_numbers, labels, sets))
    return Sheet(heads=tuple(heads), rows=tuple(rows))


def _labels(published: Sequence[str], measured: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(published))
    more = [label for label in dict.fromkeys(measured) if label not in known]
    return [*known[:-1], *more, *known[-1:]]


Numbers = Mapping[tuple[str, str], tuple[float | None, float | None]]


def _number(numbers: Numbers, key: tuple[str, str], metric: int, digits: int) -> str:
    value = numbers[key][metric] if key in numbers else None
    return "–" if value is None else f"{value:.{digits}f}"


def _improvements(
    measured: Numbers, published: Numbers, labels: Sequence[str], sets: Sequence[str]
) -> tuple[str, ...]:
    row = ["Improvements"]
    for name in sets:
        for metric in (0, 1):
            row += [
                _improvement(measured, labels, name, metric),
                _improvement(published, labels, name, metric),
            ]
    return tuple(row)


def _improvement(numbers: Numbers, labels: Sequence[str], name: str, metric: int) -> str:
    """Return by how many percent our method beats the best other one; a dash if it does not."""
    ours = numbers.get((_OURS, name), (None, None))[metric]
    values = [
        numbers.get((label, name), (None, None))[metric] for label in labels if label != _OURS
    ]
    others = [value for value in values if value is not None]
    if ours is None or not others or ours >= min(others):
        return "–"
    return f"{100 * (1 - ours / min(others)):.1f}%"
