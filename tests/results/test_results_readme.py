"""The README's results are those of the records."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

from cellbench.results.runs import load_records

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "results.py"


def test_the_readme_shows_what_the_records_say():
    checked = subprocess.run([sys.executable, SCRIPT, "--check"], check=False, timeout=120)
    assert checked.returncode == 0, "python docs/results.py writes the table anew"


def test_every_number_of_the_table_is_the_mae_of_a_record():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- results")[2].partition("<!-- /results")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    sets = [title.partition(" ")[0].lower() for title in rows[0][1:]]
    errors: dict[tuple[str, str], list[str]] = {}
    for run in load_records(ROOT).runs:
        if run.protocol == "v1" and run.split == 0:
            mean = sum(abs(a - b) for a, b in zip(run.truth, run.prediction, strict=True))
            mae = mean / len(run.truth)
            errors.setdefault((run.method, run.dataset), []).append(f"{mae:.2f}")
    shown = 0
    for method, *cells in rows[2:]:
        for dataset, cell in zip(sets, cells, strict=True):
            if cell != "–":
                assert re.match(r"[*]*([\d.]+)", cell)[1] in errors[method, dataset]
                shown += 1
    assert shown >= 15


def test_a_number_that_no_record_has_does_not_stay():
    script = runpy.run_path(str(SCRIPT))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = re.sub(r"\*\*\d+\.\d\d\*\*", "**0.10**", text, count=1)
    assert changed != text
    rows = script["rank_runs"](load_records(ROOT).runs)
    assert script["with_results"](changed, rows) == text
