"""Write the README's table of results anew from the records: `python docs/results.py`."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.records.store import load_records

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: docs/results.py writes them -->\n", "<!-- /results -->\n"
SETS = ("adi", "mbm", "vgg", "nuclei", "dcc")


def main() -> None:
    """Rewrite the README."""
    readme = ROOT / "README.md"
    # The README is about split 0; the leaderboards show all that was run.
    rows = rank_runs(run for run in load_records(ROOT).runs if run.split == 0)
    fresh = with_results(readme.read_text(encoding="utf-8"), rows)
    readme.write_text(fresh, encoding="utf-8")


def with_results(text: str, rows: Sequence[Row]) -> str:
    """A README with the table of these rows between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


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
