"""Tables of a grid's results: cells, effects of factors, and pairwise comparisons."""

from collections.abc import Sequence

from cellbench.ranking.paired_tests import Comparison
from cellbench.ranking.tables import ranges
from cellbench.reports.effects import Effect
from cellbench.reports.grid_results import GridResults
from cellbench.reports.sheets import Sheet


def grid_sheet(measured: Sequence[GridResults]) -> Sheet:
    """Tabulate all cells: their levels, then MAE with interval, RMSE and F1 on every dataset."""
    factors = list(dict.fromkeys(f for part in measured for cell in part.cells for f, _ in cell))
    cells = list(dict.fromkeys(cell for part in measured for cell in part.cells))
    heads = [("", factor) for factor in factors]
    for part in measured:
        heads += [(part.title, name) for name in ("MAE", "95 %", "RMSE", "F1")]
    rows = []
    for cell in cells:
        labels = dict(cell)
        texts = [labels.get(factor, "–") for factor in factors]
        for part in measured:
            row = dict(zip(part.cells, part.rows, strict=True)).get(cell)
            if row is None:
                texts += ["–"] * 4
                continue
            texts += [
                _number(row.mae, 2),
                _range(row.mae_low, row.mae_high, 2),
                _number(row.rmse, 2),
                _number(row.f1, 3),
            ]
        rows.append(tuple(texts))
    return Sheet(heads=tuple(heads), rows=tuple(rows), left=len(factors))


def cells_sheet(part: GridResults) -> Sheet:
    """Tabulate the cells on one dataset with their uncertainties, the best first."""
    heads = [
        "Cell", "MAE", "95 %", "Rank 95 %", "SD splits", "SD seeds", "RMSE", "F1", "Splits",
        "Seeds", "Steps",
    ]  # fmt: skip
    order = sorted(
        range(len(part.rows)), key=lambda i: (part.rows[i].mae is None, part.rows[i].mae)
    )
    labels = part.labels()
    rows = []
    for index in order:
        row = part.rows[index]
        best, worst = row.rank_low, row.rank_high
        rows.append(
            (
                labels[index],
                _number(row.mae, 2),
                _range(row.mae_low, row.mae_high, 2),
                "–" if best is None else f"{best}–{worst}" if best != worst else f"{best}",
                _number(row.mae_sd, 2),
                _number(row.mae_seed_sd, 2),
                _number(row.rmse, 2),
                _number(row.f1, 3),
                ranges(row.splits),
                ranges(row.seeds),
                f"{row.iterations}",
            )
        )
    return Sheet(heads=tuple(("", head) for head in heads), rows=tuple(rows))


def effects_sheet(effects: Sequence[Effect], *, dataset: str = "") -> Sheet:
    """Tabulate the effects of factors on the MAE; below zero is better.

    Args:
        effects: effects on one dataset.
        dataset: content of a first column "Set"; empty for none.
    """
    heads = ["Change", "In", "Images", "Effect on MAE", "low", "high"]
    rows: list[tuple[str, ...]] = [
        (
            effect_label(effect),
            _context(effect),
            str(effect.images),
            _signed(effect.estimate),
            _signed(effect.low),
            _signed(effect.high),
        )
        for effect in effects
    ]
    return _dataset_sheet(heads, rows, dataset)


def effect_label(effect: Effect) -> str:
    """Format the changes of an effect, for example `matcher: Hungarian → KHM`."""
    return " × ".join(f"{c.factor}: {c.reference} → {c.level}" for c in effect.changes)


def comparisons_sheet(
    comparisons: Sequence[Comparison], labels: Sequence[str], *, dataset: str = ""
) -> Sheet:
    """Tabulate pairs of cells: difference of MAE with interval, p, and p after Holm."""
    heads = ["First", "Second", "Images", "Difference", "low", "high", "p", "p Holm", "Not tested"]
    rows: list[tuple[str, ...]] = [
        (
            labels[c.first],
            labels[c.second],
            str(c.images),
            _signed(c.difference),
            _signed(c.low),
            _signed(c.high),
            "–" if c.p is None else f"{c.p:.2g}",
            "–" if c.p_holm is None else f"{c.p_holm:.2g}",
            c.reason or "–",
        )
        for c in comparisons
    ]
    return _dataset_sheet(heads, rows, dataset)


def _dataset_sheet(heads: list[str], rows: list[tuple[str, ...]], dataset: str) -> Sheet:
    """Create a sheet with two columns of text, after one with the dataset if it is given."""
    if dataset:
        heads, rows = ["Set", *heads], [(dataset, *row) for row in rows]
    return Sheet(heads=tuple(("", h) for h in heads), rows=tuple(rows), left=2 + bool(dataset))


def _context(effect: Effect) -> str:
    if effect.within:
        return ", ".join(f"{factor} {label}" for factor, label in effect.within)
    return "the only combination" if effect.cells == 1 else f"mean over {effect.cells} combinations"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _range(low: float | None, high: float | None, digits: int) -> str:
    return "–" if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"
