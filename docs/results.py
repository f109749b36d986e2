"""Write the README's tables of results anew from the records: `python docs/results.py`."""

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
    # The README is about split 0; the leaderboards show all that was run.
    runs = [run for run in load_records(ROOT).runs if run.split == 0]
    fresh = with_results(readme.read_text(encoding="utf-8"), runs)
    readme.write_text(fresh, encoding="utf-8")


def with_results(text: str, runs: Sequence[Run]) -> str:
    """A README with the tables of these runs, each between its two marks."""
    rows = rank_runs(runs)
    tables = {"results": table(rows), "effects": effects(), "inflation": inflation(rows, runs)}
    for name, (begin, end) in MARKS.items():
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{tables[name]}\n{end}{after}"
    return text


def table(rows: Sequence[Row]) -> str:
    """Methods by sets: the test MAE, its 95 % interval, and the minutes of training.

    Methods as they stand, under `v1`, in the order of the set on which most are; in bold those that
    share the first rank of a set; of a partial training the share of its schedule. Of a method that
    was trained several times the largest share of its schedule stands here, then the longest
    training, whatever came of it; the leaderboards show all. A last line has how far the better
    half of the methods err on the same images.
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
    """What each change of a part adds to the MAE, averaged over the others, from its reports.

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
    """What the paper prints, what its released code's protocol gives here, and what `v1` gives.

    Each with its interval and the cells of a scored image, which crops have a tenth of.
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
    """How far the better half of a set's methods err on the same images, the median."""
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
