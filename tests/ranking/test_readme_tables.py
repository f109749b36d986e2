"""The README's results are those of the records that the project holds."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from cellbench.records.store import load_records
from cellbench.records.summaries import Run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WITH_RESULTS = runpy.run_path(str(ROOT / "docs" / "results.py"))["with_results"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    """The committed records: whoever trains in a clone has more, which the README need not show."""
    store = tmp_path_factory.mktemp("store")
    listed = subprocess.run(
        ["git", "ls-files", "leaderboards/records"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.splitlines()
    if listed.returncode:  # no clone: an archive of the project has the committed ones alone
        names = [str(path.relative_to(ROOT)) for path in ROOT.glob("leaderboards/records/*/*.*")]
    for name in names:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, store / name)
    return [run for run in load_records(store).runs if run.split == 0]


def test_the_readme_shows_what_the_records_say(runs):
    assert WITH_RESULTS(README, runs) == README, "python docs/results.py writes it anew"


def test_every_number_of_the_table_is_the_mae_of_a_record(runs):
    table = README.partition("<!-- results")[2].partition("<!-- /results")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    sets = [title.partition(" ")[0].lower() for title in rows[0][1:]]
    errors: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        if run.protocol == "v1" and run.split == 0:
            total = sum(abs(a - b) for a, b in zip(run.truth, run.prediction, strict=True))
            mae = f"{total / len(run.truth):.2f}"
            errors.setdefault((run.method, run.dataset), []).append(mae)
    shown = 0
    for method, *cells in rows[2:]:
        for dataset, cell in zip(sets, cells, strict=True):
            if cell != "–":
                assert re.match(r"[*]*([\d.]+)", cell)[1] in errors[method, dataset]
                shown += 1
    assert shown >= 15


def test_a_number_that_no_record_has_does_not_stay(runs):
    changed = re.sub(r"\*\*\d+\.\d\d\*\*", "**0.10**", README, count=1)
    assert changed != README
    assert WITH_RESULTS(changed, runs) == README


@pytest.mark.parametrize(("dataset", "words"), [("adi", "DLA on ADI"), ("mbm", "on MBM")])
def test_what_one_run_gives_on_two_machines_is_that_of_two_records(dataset, words):
    maes = []
    for store in (ROOT, ROOT / "leaderboards" / "aside"):
        loaded = load_records(store, dataset)
        assert not loaded.problems
        maes.append({run.run_id: run.metrics["mae"] for run in loaded.runs})
    here, aside = maes
    ((run_id, other),) = aside.items()
    text = " ".join(README.split())
    sentence = text[text.index("One run on two machines differs") :].partition(";")[0]
    after = sentence[sentence.index(words) :]
    assert re.findall(r"\d+\.\d\d", after)[:2] == [f"{here[run_id]:.2f}", f"{other:.2f}"]
