"""Claims about what a comparison leaves to read."""

import csv
import itertools
import sys
from dataclasses import replace

import pytest
from record_samples import sample_images, sample_points, sample_record

import cellbench.reports
from cellbench.ranking.published import read_published
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records
from cellbench.reports import comparison
from cellbench.reports.comparison import NO_PICTURES, GridRun, write_report
from cellbench.reports.sheets import Sheet, latex

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def grid(tmp_path):
    """Two factors on the simulated ADI, two splits each."""
    for matcher, decoder, split in itertools.product(("H", "KHM"), ("FPN", "GFD"), (0, 1)):
        images = sample_images(12, seed=split, error=2.0 if matcher == "KHM" else 6.0)
        record = sample_record(
            method=f"{matcher}-{decoder}", dataset="adi-sim", split=split, images=images
        )
        write_record(tmp_path, record, points=sample_points(images))
    return [
        GridRun(tuple(zip(("matcher", "decoder"), run.method.split("-"), strict=True)), run)
        for run in load_records(tmp_path).runs
    ]


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "cellbench.reports.plots", raising=False)
    monkeypatch.delattr(cellbench.reports, "plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_a_grid_without_runs_leaves_nothing(tmp_path):
    assert write_report(tmp_path / "r", grid_name="g", layout=None, runs=[]) == []
    assert not (tmp_path / "r").exists()


def test_without_matplotlib_tables_are_whole_and_one_sentence_says_why(
    grid, tmp_path, no_matplotlib
):
    said = []
    folder = tmp_path / "r"
    files = write_report(folder, grid_name="g", layout=None, runs=grid, say=said.append)
    assert [f.name for f in files] == ["g.md", "g.csv", "g.tex", "effects.csv", "pairs.csv"]
    assert said == [NO_PICTURES]
    page = files[0].read_text()
    assert "pip install" in page
    assert "nothing about real cells" in page
    with (folder / "g.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["matcher"], r["decoder"]) for r in rows] == [
        ("H", "FPN"), ("H", "GFD"), ("KHM", "FPN"), ("KHM", "GFD"),
    ]  # fmt: skip
    with (folder / "effects.csv").open() as stream:
        effects = {(r["Change"], r["In"]): r for r in csv.DictReader(stream)}
    khm = effects["matcher: H → KHM", "mean over 2 combinations"]
    assert float(khm["low"]) <= float(khm["Effect on MAE"]) <= float(khm["high"])
    by_hand = {(r["matcher"], r["decoder"]): float(r["adi-sim MAE"]) for r in rows}
    expected = sum(by_hand["KHM", d] - by_hand["H", d] for d in ("FPN", "GFD")) / 2
    assert float(khm["Effect on MAE"]) == pytest.approx(expected, abs=0.011)
    assert ("matcher: H → KHM × decoder: FPN → GFD", "the only combination") in effects


def test_the_pictures_are_png_and_svg_and_are_not_drawn_twice(grid, tmp_path):
    folder = tmp_path / "r"
    files = write_report(folder, grid_name="g", layout=None, runs=grid)
    pictures = {f.name for f in files if f.suffix in (".png", ".svg")}
    kinds = ("effects", "counts", "agreement", "density", "f1")
    assert pictures == {f"{kind}-adi-sim.{form}" for kind in kinds for form in ("png", "svg")}
    assert all(f.stat().st_size > 1000 for f in files if f.name in pictures)
    before = {f: f.stat().st_mtime_ns for f in files}
    assert write_report(folder, grid_name="g", layout=None, runs=grid) == files
    assert {f: f.stat().st_mtime_ns for f in files} == before


def test_a_report_is_of_the_results_and_not_of_the_names_of_their_records(
    grid, tmp_path, monkeypatch
):
    """A record that was deleted and made again, on a GPU, has its old name and other counts."""
    monkeypatch.setattr(comparison, "_pictures", lambda *args: [])
    folder = tmp_path / "r"
    write_report(folder, grid_name="g", layout=None, runs=grid)
    before = (folder / "g.csv").read_text()
    again = [replace(one, run=replace(one.run, prediction=one.run.truth + 7)) for one in grid]
    write_report(folder, grid_name="g", layout=None, runs=again)
    assert "7.00" not in before
    assert (folder / "g.csv").read_text().count("7.00–7.00") == len(grid) / 2


def test_a_table_of_the_paper_has_its_layout_with_published_numbers_beside(tmp_path, no_matplotlib):
    names = {"a": "Baseline", "b": "+KHM"}
    for method in names:
        write_record(tmp_path, sample_record(method=method))
    runs = [GridRun((("variant", names[r.method]),), r) for r in load_records(tmp_path).runs]
    files = write_report(tmp_path / "r", grid_name="table3", layout="table3", runs=runs)
    with files[1].open() as stream:
        rows = list(csv.DictReader(stream))
    # An apostrophe keeps a spreadsheet from taking "+KHM" for a formula.
    assert [row["Module"] for row in rows] == ["Baseline", "'+KHM", "'+MDGC", "'+All"]
    assert [row["ADI MAE published"] for row in rows] == ["9.0", "4.6", "4.4", "4.1"]
    assert [row["ADI MSE published"] for row in rows] == ["13.1", "6.1", "5.9", "5.7"]
    assert float(rows[0]["ADI MAE"]) == pytest.approx(runs[0].run.metrics["mae"], abs=0.005)
    assert rows[2]["ADI MAE"] == ""
    text = files[2].read_text()
    assert r"\multicolumn{4}{c}{ADI}" in text
    assert text.count(r"\\") == 2 + 4


def test_all_numbers_of_the_papers_tables_are_shipped():
    numbers = read_published()
    by_table = {t: [n for n in numbers if n.table == t] for t in (2, 3, 4, 5)}
    assert {t: len(found) for t, found in by_table.items()} == {2: 44, 3: 4, 4: 3, 5: 4}
    assert sum(n.mae for n in by_table[2] if n.dataset == "adi") == pytest.approx(134.4)
    others = {(n.method, n.dataset): (n.mae, n.selection) for n in numbers if n.table is None}
    assert others["PGC-Net", "mbm"] == (3.7, "test")
    assert others["SAU-Net", "mbm"] == (5.7, "unknown")


@pytest.mark.parametrize(
    ("text", "written"),
    [("50% & $x_1$", r"50\% \& \$x\_1\$"), ("a\\b", r"a\textbackslash{}b"), ("1–2", "1--2")],
)
def test_latex_shows_text_as_it_is(text, written):
    assert latex(text) == written


def test_a_hostile_cell_stays_in_its_cell():
    sheet = Sheet((("", "a"), ("g", "b")), (("x|y", "=1+1"), ("–", "-3.5")))
    assert sheet.markdown()[2] == "| x\\|y | =1+1 |"
    assert sheet.csv() == "a,g b\nx|y,'=1+1\n,-3.5\n"


def test_no_cell_is_an_argument_of_the_line_before_it_in_latex():
    sheet = Sheet((("", "Cell"), ("", "MAE")), (("[x] <b>", "-1.50"), ("*y|", "1e-05")))
    lines = sheet.latex(caption="c").splitlines()
    assert [line for line in lines if " & " in line] == [
        r"Cell & MAE \\",
        r"{[}x] \textless{}b\textgreater{} & $-$1.50 \\",
        r"{*}y\textbar{} & 1e-05 \\",
    ]
