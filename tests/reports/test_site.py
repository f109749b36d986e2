"""Claims about the site of the results, without a browser."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import escape
from record_samples import sample_images, sample_points, sample_record
from site_samples import HOSTILE, write_nuclei_records

from cellbench.errors import UserError
from cellbench.ranking.row_cache import ranked_rows
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records
from cellbench.reports.site import image_pages, page_writer, site_build
from cellbench.reports.site.image_pages import packed_points
from cellbench.reports.site.ranked_tables import read_results
from cellbench.reports.site.set_page import errata_of
from cellbench.reports.site.site_build import build_site
from cellbench.structures import CellSample, Prediction

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def store(tmp_path):
    for method, error in (("a", 1.0), ("b", 6.0)):
        for split in (0, 1):
            images = sample_images(8, seed=split, error=error)
            record = sample_record(method=method, split=split, images=images)
            write_record(tmp_path, record, points=sample_points(images))
    return tmp_path


def page_data(path):
    text = path.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def test_every_row_has_the_runs_that_it_averages(store):
    rows, _ = ranked_rows(store, "adi")
    (table,) = read_results([store]).tables
    assert [e.row for e in table.experiments] == rows
    for index, experiment in enumerate(table.listed):
        assert len(experiment.runs) == experiment.row.runs
        assert np.nanmean(table.errors.absolute[index]) == pytest.approx(experiment.row.mae)


@pytest.mark.parametrize("differs", ["manifest_hash", "weights"])
def test_rows_of_one_config_on_two_revisions_or_weights_each_have_their_runs(tmp_path, differs):
    values = {"manifest_hash": ("0" * 64, "1" * 64)}.get(
        differs, tuple({"source": "file:vgg16.safetensors", "sha256": c * 64} for c in "ab")
    )
    for value in values:
        for method, error in (("a", 1.0), ("b", 6.0)):
            images = sample_images(8, error=error)
            write_record(tmp_path, sample_record(method=method, images=images, **{differs: value}))
    (table,) = read_results([tmp_path]).tables
    assert len(table.experiments) == 4
    assert all(len(e.runs) == e.row.runs == 1 for e in table.experiments)
    assert len({e.runs[0].run_id for e in table.experiments}) == 4
    assert len({e.slug for e in table.experiments}) == 4
    assert build_site([tmp_path], tmp_path / "site").written > 4


def test_counts_that_are_all_off_alike_have_a_page(tmp_path):
    """Their deviation is of rounding alone, and so are the ends of a chart's axis."""
    truth = [CellSample(f"i{i}", np.zeros((3, 2), dtype=np.float32), (64, 64)) for i in range(7)]
    images = (truth, [Prediction(count=7.1) for _ in truth])
    write_record(tmp_path, sample_record(method="meancount", images=images))
    assert build_site([tmp_path], tmp_path / "site").written > 1


def test_a_second_build_writes_nothing_and_a_new_record_its_pages(store):
    out = store / "site"
    first = build_site([store], out)
    assert first.written == first.pages > 10
    before = {path: path.read_bytes() for path in out.rglob("*.html")}
    again = build_site([store], out)
    assert (again.pages, again.written) == (first.pages, 0)

    record = sample_record(method="vgg-only", dataset="vgg", images=sample_images(4))
    write_record(store, record)
    third = build_site([store], out)
    assert 0 < third.written < 12
    assert all(path.read_bytes() == text for path, text in before.items() if "adi" in path.parts)


def test_a_new_record_writes_only_pages_that_change(tmp_path):
    for number, method in enumerate("abcd"):
        for split in (0, 1):
            images = sample_images(8, seed=split, error=1.0 + 2 * number)
            for cells in images[0] if split else ():
                object.__setattr__(cells, "image_id", f"other-{cells.image_id}")
            write_record(tmp_path, sample_record(method=method, split=split, images=images))
    out = tmp_path / "site"
    build_site([tmp_path], out)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in out.rglob("*.html")}
    images = sample_images(8, seed=0, error=5.5)
    write_record(tmp_path, sample_record(method="c", split=0, seed=1, images=images))
    build_site([tmp_path], out)
    written = {path for path, (file, _) in before.items() if path.stat().st_ino != file}
    scored = {out / f"adi/v1/images/img{index:03d}.html" for index in range(8)}
    assert scored <= written < before.keys()
    assert [path for path in written - scored if before[path][1] == path.read_bytes()] == []
    assert out / "methods/c.html" in written
    assert not {out / f"methods/{name}.html" for name in "abd"} & written


def test_a_page_that_is_gone_or_cut_off_is_made_again(store):
    out = store / "site"
    build_site([store], out)
    (out / "index.html").write_text("")
    (out / "methods/a.html").unlink()
    assert build_site([store], out).written == 2
    assert "Results" in (out / "index.html").read_text()


def test_a_build_that_was_interrupted_is_taken_up_and_leaves_no_old_page(store, monkeypatch):
    out = store / "site"
    monkeypatch.setattr(page_writer, "_PAGES_BETWEEN", 1)
    monkeypatch.setattr(site_build, "write_method_page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_site([store], out)
    monkeypatch.undo()
    first = build_site([store], out)
    assert 0 < first.written < first.pages

    images = sample_images(8, seed=2, error=3.0)
    write_record(store, sample_record(method="a", split=0, seed=1, images=images))
    monkeypatch.setattr(page_writer, "_PAGES_BETWEEN", 1)
    monkeypatch.setattr(image_pages, "_places", interrupted)  # all are checked, none is written
    with pytest.raises(KeyboardInterrupt):
        build_site([store], out)
    monkeypatch.undo()
    build_site([store], out)
    whole = store / "whole"
    build_site([store], whole)
    for page in whole.rglob("*.html"):
        assert (out / page.relative_to(whole)).read_bytes() == page.read_bytes()


def interrupted(*_):
    raise KeyboardInterrupt


def test_pages_of_records_that_are_gone_go_too(store):
    out = store / "site"
    build_site([store], out)
    for path in (store / "leaderboards/records/adi").glob("b-*"):
        path.unlink()
    build_site([store], out)
    assert not (out / "methods/b.html").exists()
    assert not list(out.glob("adi/v1/methods/b-*"))


def test_a_folder_with_other_files_is_left_alone(store):
    (store / "other").mkdir()
    (store / "other/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="no site of cellbench"):
        build_site([store], store / "other")
    assert [path.name for path in (store / "other").iterdir()] == ["thesis.txt"]


def test_every_link_of_every_page_leads_somewhere(store):
    out = store / "site"
    build_site([store], out)
    for page in out.rglob("*.html"):
        for href in re.findall(r'<a [^>]*href="([^"#]+)', page.read_text()):
            assert (page.parent / html.unescape(href)).is_file(), f"{page}: {href}"


def test_an_image_that_only_partial_trainings_scored_has_a_page(store):
    truth, predictions = sample_images(9, seed=5)
    images = [replace(one, image_id=f"other-{one.image_id}") for one in truth], predictions
    config = {"method": {"name": "c"}, "data": {"set": "adi", "epochs": 40}}
    partial = sample_record(method="c", images=images, config=config)
    write_record(store, partial, points=sample_points(images))
    (table,) = read_results([store]).tables
    assert [(e.row.method, e.row.rank) for e in table.listed][-1] == ("c", None)
    test_every_link_of_every_page_leads_somewhere(store)
    folder = store / "site" / table.folder / "images"
    assert "No ranked method scored it." in (folder / "other-img008.html").read_text()
    assert "by the mean error of the ranked methods" in (folder / "img000.html").read_text()


def test_the_images_of_a_set_without_ranked_methods_are_in_the_order_of_all_methods(tmp_path):
    images = sample_images(9, seed=5)
    write_record(
        tmp_path, sample_record(images=images, protocol="smoke"), points=sample_points(images)
    )
    (table,) = read_results([tmp_path]).tables
    assert not table.ranked
    build_site([tmp_path], tmp_path / "site")
    page = (tmp_path / "site" / table.folder / "images/img000.html").read_text()
    assert "of 9 images by the mean error of the methods." in page


def test_every_record_is_on_a_page_with_the_command_that_verifies_it(store):
    out = store / "site"
    build_site([store], out)
    text = "".join(path.read_text() for path in out.glob("adi/v1/methods/*.html"))
    for run in load_records(store).runs:
        assert f'id="r-{run.run_id[:16]}"' in text
        assert run.file in text
    assert text.count("cellbench verify ") >= 4


def test_rows_of_single_splits_are_those_of_their_runs_alone(store):
    out = store / "site"
    build_site([store], out)
    data = page_data(out / "index.html")
    runs = load_records(store).runs
    assert data["splits"] == ["0", "1"]
    mae = [column[0] for column in data["columns"]].index("MAE")
    rows = data["rows"]
    shown = {(rows[row[0]][-1], row[1]): row[4].split("\t")[mae] for row in rows if row[1]}
    assert shown == {(run.method, str(run.split)): f"{run.metrics['mae']:.2f}" for run in runs}


def test_texts_of_records_are_texts_on_the_pages(tmp_path):
    write_nuclei_records(tmp_path, images=3)
    out = tmp_path / "site"
    build_site([tmp_path], out)
    pages = list(out.rglob("*.html"))
    assert any(escape(HOSTILE) in page.read_text() for page in pages)
    for page in pages:
        text = page.read_text()
        assert "<script>document.title" not in text
        assert "<img src=x" not in text
        policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)', text)[1])
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy


def test_a_set_that_may_be_passed_on_is_shown_with_its_pictures_and_others_are_not(tmp_path, store):
    ids = write_nuclei_records(store, images=2)
    out = store / "site"
    assert build_site([store], out, with_images=True).private == ()
    shown = page_data(out / "nuclei/v1/images" / f"{ids[0]}.html")
    assert shown["picture"].startswith("data:image/png;base64,")
    assert shown["truth"]
    framed = page_data(out / "adi/v1/images/img003.html")
    assert framed["picture"] is framed["truth"] is None
    assert [method["name"] for method in framed["methods"]] == ["a", "b"]


def test_packed_points_come_back_to_half_a_step():
    import base64

    points = np.random.default_rng(0).uniform(0, 600, (50, 2))
    steps = np.frombuffer(base64.b64decode(packed_points(points, 0.125)), "<u2").reshape(-1, 2)
    assert np.abs(steps * 0.125 - points).max() <= 0.0625 + 1e-9
    assert packed_points(np.zeros((0, 2)), 0.125) == ""


def test_errata_of_a_set_come_before_those_of_all_sets():
    known = {"adi": "- **One**\n  goes on.\n- Two.", "vgg": "### Head\n\nThree."}
    assert errata_of([known], "adi") == ["One\n  goes on.", "Two."]
    assert errata_of([known], "vgg") == ["Three."]
    assert errata_of([known], "mbm") == []
    assert errata_of([{"all sets": "Four."}, known], "vgg") == ["Three.", "Four."]


def test_a_store_without_records_has_a_page_that_says_so(tmp_path):
    built = build_site([tmp_path], tmp_path / "site")
    assert built.pages == 1
    assert "0 records" in (tmp_path / "site/index.html").read_text()
