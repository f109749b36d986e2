"""Rewrite the README's tables of results from the records: `python docs/results.py`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from cellbench.ranking.published import read_published
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.ranking.statistics import image_errors, intervals
from cellbench.records.store import load_records
from cellbench.records.summaries import Run

ROOT = Path(__file__).resolve().parent.parent
MARKS = {
    "results": ("<!-- results: docs/results.py writes them -->\n", "<!-- /results -->\n"),
    "effects": ("<!-- effects: docs/results.py writes them -->\n", "<!-- /effects -->\n"),
    "inflation": ("<!-- inflation: docs/results.py writes it -->\n", "<!-- /inflation -->\n"),
}
SETS = ("adi", "mbm", "vgg", "nuclei", "dcc")


def main() -> None:
    """Rewrite the README."""
    readme = ROOT / "README.md"
    # The README's tables are of split 0; the leaderboards have all runs.
    runs = [run for run in load_records(ROOT).runs if run.split == 0]
    fresh = with_results(readme.read_text(encoding="utf-8"), runs)
    readme.write_text(fresh, encoding="utf-8")


def with_results(text: str, runs: Sequence[Run]) -> str:
    """Return the README with the tables of these runs, each between its two marks."""
    rows = rank_runs(runs)
    tables = {"results": table(rows), "effects": effects(), "inflation": inflation(rows, runs)}
    for name, (begin, end) in MARKS.items():
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{tables[name]}\n{end}{after}"
    return text


def table(rows: Sequence[Row]) -> str:
    """Format the table of methods by sets: test MAE, 95 % interval, minutes of training.

    Methods without changed parts, under `v1`, by their MAE on the set with most methods. Bold is
    the first rank of a set; a percentage is the share of the schedule of a partial training. Of a
    method trained several times the run with the largest share of its schedule is shown, then the
    longest, whatever its error; the leaderboards have all. The last line states how far the errors
    of the better half of the methods are shared.
    """
    ours = [
        row for row in rows
        if row.protocol == "v1" and row.listed and "[" not in row.method
    ]  # fmt: skip
    ours.sort(key=lambda row: (row.share or 1.0, row.train_s or 0.0))
    of = {(row.method, row.dataset): row for row in ours}
    ours = list(of.values())
    sets = [name for name in SETS if any(row.dataset == name for row in ours)]
    leading = max(sets, key=lambda name: sum(row.dataset == name for row in ours))
    order = sorted(ours, key=lambda row: (row.dataset != leading, row.mae))
    methods = list(dict.fromkeys(row.method for row in order))
    lines = ["| method | " + " | ".join(f"{name.upper()} MAE" for name in sets) + " |"]
    lines.append("|---" * (len(sets) + 1) + "|")
    for method in methods:
        found = [_cell(of.get((method, name))) for name in sets]
        lines.append(f"| {method} | " + " | ".join(found) + " |")
    shared = [f"{name.upper()} {_shared(ours, name)}" for name in sets]
    lines += ["", f"Errors shared, the median of the better half: {', '.join(shared)}."]
    return "\n".join(lines) + "\n"


def effects() -> str:
    """Format the table of MAE changes by part, averaged over the other parts, from the reports.

    The combinations on DCC's simulator were trained for a share of their schedule.
    """
    boards = ROOT / "leaderboards"
    reports = {
        "": boards / "grids/components",
        " (13% of the steps)": boards / "grids/components-sim",
    }
    found: dict[str, dict[str, str]] = {}  # by change, then by set
    for note, report in reports.items():
        with (report / "effects.csv").open(encoding="utf-8", newline="") as text:
            for one in csv.DictReader(text):
                if one["In"].startswith("mean over") and "×" not in one["Change"]:
                    name = one["Set"] + note
                    cell = f"{one['Effect on MAE']} ({one['low']} to {one['high']})"
                    found.setdefault(one["Change"], {})[name] = cell.replace("-", "−")
    sets = list(dict.fromkeys(name for cells in found.values() for name in cells))
    lines = [f"| change | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for change, cells in found.items():
        lines.append(f"| {' | '.join([change, *(cells[name] for name in sets)])} |")
    return "\n".join(lines) + "\n"


def inflation(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """Format the table of published MAE, and MAE here under `released` and `v1`.

    Each of ours with its interval and the mean number of cells in a scored image or crop.
    """
    papers = {n.dataset: n.mae for n in read_published() if n.table == 2 and n.method == "Ours"}
    shown = [(m, p) for p in ("released", "v1") for m in ("DLA-released", "DLA")]
    whole = [row for row in rows if row.share is None and (row.listed or row.protocol != "v1")]
    of = {(row.method, row.protocol, row.dataset): row for row in whole}
    heads = ["set", "published", *(f"{method}, `{protocol}`" for method, protocol in shown)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in ("adi", "mbm", "vgg"):
        cells = [_error(of.get((*kind, name)), runs) for kind in shown]
        lines.append(f"| {' | '.join([name.upper(), f'{papers[name]:.1f}', *cells])} |")
    return "\n".join(lines) + "\n"


def _error(row: Row | None, runs: Sequence[Run]) -> str:
    if row is None:
        return "–"
    own = image_errors([[run for run in runs if run.run_id in row.run_ids]])
    ((low, high),) = intervals(own.absolute, own.clusters)  # also of rows that are never ranked
    return f"{row.mae:.2f} ({low:.1f}–{high:.1f}) of {own.truth.mean():.0f}"


def _shared(rows: Sequence[Row], dataset: str) -> str:
    """Return the median of the shared errors of the better half of a set's methods."""
    ranked = sorted((row for row in rows if row.dataset == dataset), key=lambda row: row.mae)
    known = [row.shared for row in ranked[: (len(ranked) + 1) // 2] if row.shared is not None]
    return f"{median(known):.2f}" if known else "unknown"


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    best = f"**{row.mae:.2f}**" if row.rank == 1 else f"{row.mae:.2f}"
    minutes = "" if not row.by_steps or row.train_s is None else f", {row.train_s / 60:.0f} min"
    share = "" if row.share is None else f", {row.share:.0%}"
    return f"{best} ({row.mae_low:.1f}–{row.mae_high:.1f}){minutes}{share}"


if __name__ == "__main__":
    main()
