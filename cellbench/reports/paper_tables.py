"""The tables of the DLA-Count paper in their layout, measured numbers beside published ones.

The paper heads the root of the mean squared error "MSE"; so do these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellbench.ranking.published import Published
from cellbench.reports.grid_results import GridResults, label_of
from cellbench.reports.sheets import Sheet

_OURS = "Ours"


@dataclass(frozen=True, slots=True)
class Layout:
    """A table of the paper.

    Attributes:
        table: its number.
        head: of its first column.
        sets: the sets that it has, in its order.
        caption: in our words.
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
    """A table of the paper, with two columns for each of its own: measured and published.

    Args:
        layout: which.
        measured: the grid on the sets that it ran on; others than the paper's get columns too.
        published: numbers of any tables.

    Returns:
        The paper's rows in its order, those that only the grid has before the last one. Table 2
        ends in the paper's row of improvements of its method over the best other one.
    """
    numbers = {(n.method, n.dataset): n for n in published if n.table == layout.table}
    own = {
        (label_of(cell), part.dataset): (row.mae, row.rmse)
        for part in measured
        for cell, row in zip(part.cells, part.rows, strict=True)
    }
    paper = {key: (number.mae, number.rmse) for key, number in numbers.items()}
    labels = _labels([n.method for n in numbers.values()], [label for label, _ in own])
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
                row += [_number(own, key, metric, 2), _number(paper, key, metric, 1)]
        rows.append(tuple(row))
    if layout.table == 2:
        rows.append(_improvements(own, paper, labels, sets))
    return Sheet(heads=tuple(heads), rows=tuple(rows))


def _labels(paper: Sequence[str], own: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(paper))
    more = [label for label in dict.fromkeys(own) if label not in known]
    return [*known[:-1], *more, *known[-1:]]


Numbers = Mapping[tuple[str, str], tuple[float | None, float | None]]


def _number(numbers: Numbers, key: tuple[str, str], metric: int, digits: int) -> str:
    value = numbers[key][metric] if key in numbers else None
    return "–" if value is None else f"{value:.{digits}f}"


def _improvements(
    own: Numbers, paper: Numbers, labels: Sequence[str], sets: Sequence[str]
) -> tuple[str, ...]:
    row = ["Improvements"]
    for name in sets:
        for metric in (0, 1):
            row += [
                _improvement(own, labels, name, metric),
                _improvement(paper, labels, name, metric),
            ]
    return tuple(row)


def _improvement(numbers: Numbers, labels: Sequence[str], name: str, metric: int) -> str:
    """By how many percent the last method beats the best other one; a dash if it does not."""
    ours = numbers.get((_OURS, name), (None, None))[metric]
    values = [
        numbers.get((label, name), (None, None))[metric] for label in labels if label != _OURS
    ]
    others = [value for value in values if value is not None]
    if ours is None or not others or ours >= min(others):
        return "–"
    return f"{100 * (1 - ours / min(others)):.1f}%"
