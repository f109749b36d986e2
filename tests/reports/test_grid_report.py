"""Claims about the report of a comparison for a paper."""

import itertools
import re

import pytest
from markupsafe import escape
from record_samples import sample_images, sample_points, sample_record

from cellbench.cli.main import main
from cellbench.errors import UserError
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records
from cellbench.reports.effects import grid_effects
from cellbench.reports.grid_results import GridRun, measured_sets
from cellbench.reports.grid_sheets import cells_sheet, effects_sheet
from cellbench.reports.site.charts import Span, spans, ticks
from cellbench.reports.site.grid_report import ReportPart, write_grid_report

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def runs(tmp_path):
    """Two factors on ADI, two splits each; a level has a name that both formats have to escape."""
    for matcher, decoder, split in itertools.product(("H", "K_<b>&"), ("FPN", "GFD"), (0, 1)):
        images = sample_images(10, seed=split, error=6.0 if matcher == "H" else 2.0)
        record = sample_record(
            method=f"{matcher}-{decoder}",
            split=split,
            images=images,
            environment={"cellbench": "0.1.0", "torch": "2.14", "commit": None},
        )
        write_record(tmp_path, record, points=sample_points(images))
    return [
        GridRun(tuple(zip(("matcher", "decoder"), run.method.split("-"), strict=True)), run)
        for run in load_records(tmp_path).runs
    ]


def test_page_and_latex_have_the_numbers_of_the_tables(runs, tmp_path):
    page, tex = write_grid_report(tmp_path / "r", "g", [ReportPart("g", "A grid", None, runs)])
    (part,) = measured_sets(runs)
    html, latex = page.read_text(), tex.read_text()
    averaged = [e for e in grid_effects(part.cells, part.errors) if not e.within]
    for row in [*cells_sheet(part).rows, *effects_sheet(averaged).rows]:
        for text in row:
            assert f">{escape(text)}</t" in html
    for label in part.labels():
        for sign, written in (
            ("_", r"\_"),
            ("&", r"\&"),
            ("<", "\\textless{}"),
            (">", "\\textgreater{}"),
        ):
            label = label.replace(sign, written)
        assert label in latex
    assert "K_<b>&" not in html
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 4


def test_it_states_protocol_versions_and_every_record(runs, tmp_path):
    page, tex = write_grid_report(tmp_path / "r", "g", [ReportPart("g", "A grid", None, runs)])
    html = page.read_text()
    for text in (html, tex.read_text()):
        assert "10 test images of ADI under protocol v1" in text
        assert "splits 0-1, seeds 0" in text
        assert "8 records, made with cellbench 0.1.0, torch 2.14" in text
    for entry in runs:
        assert f"cellbench verify {entry.run.run_id[:16]}" in html


def test_the_same_records_give_the_same_bytes(runs, tmp_path):
    part = ReportPart("g", "A grid", None, runs)
    first = [path.read_bytes() for path in write_grid_report(tmp_path / "a", "g", [part])]
    second = [path.read_bytes() for path in write_grid_report(tmp_path / "b", "g", [part])]
    assert first == second


def test_a_grid_without_finished_runs_is_named(tmp_path):
    with pytest.raises(UserError, match="cellbench compare g"):
        write_grid_report(tmp_path, "g", [ReportPart("g", "A grid", None, [])])


def test_the_command_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["report", "table3"])
    assert ended.value.code == 2
    assert "cellbench compare table3" in capsys.readouterr().err


def test_an_interval_is_drawn_from_its_low_to_its_high_end():
    svg = spans([Span("a", 1.0, -1.0, 3.0), Span("b", None, None, None)], title="t", x="x")
    (line,) = re.findall(r'line class="line c0" x1="([\d.]+)" y1="\d+" x2="([\d.]+)"', svg)
    (zero,) = re.findall(r'line class="rule" x1="([\d.]+)"', svg)
    (dot,) = re.findall(r'circle class="dot" cx="([\d.]+)"', svg)
    low, high, at, origin = float(line[0]), float(line[1]), float(dot), float(zero)
    assert at - low == pytest.approx(high - at, abs=0.2)
    assert (at - origin) * 2 == pytest.approx(at - low, abs=0.2)
    assert spans([], title="t", x="x") == ""


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-3.2, 88), (5, 5), (1e-4, 2e-4), (0, 1e6), (-1e-17, 3e-16), (4.1, 4.1 + 1e-15)],
)
def test_ticks_hold_all_values_and_are_even_and_few(low, high):
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) == 1
