"""Claims about `cellbench count`, on a tiny run of the simulated ADI."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import tifffile
from PIL import Image

from cellbench.api.own_folders import import_own
from cellbench.counting.counted_folder import read_counted
from cellbench.counting.view_session import ViewSession
from cellbench.data.stored_set import open_set
from cellbench.records import kept_models
from cellbench.records.kept_models import DEFAULT


@pytest.fixture(scope="module")
def store(command, simulated_home, tmp_path_factory):
    """A store with a finished run of a method that needs no training."""
    store = tmp_path_factory.mktemp("store")
    asked = ["run", "configs/methods/bloblog.py", "--dataset", "adi-sim", "--protocol", "smoke"]
    where = {"CELLBENCH_HOME": str(simulated_home), "CELLBENCH_OFFLINE": "1"}
    done = command(*asked, "--store", str(store), **where)
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (80, 60)), ("b.tif", (71, 53)), ("c.jpg", (64, 64))):
        Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def count(command, store, tmp_path):
    """Run `cellbench count` with the finished run, without a data set."""
    (run,) = (store / "runs" / "adi-sim").iterdir()

    def go(*arguments, named=run):
        chosen = ["--with", str(named)] if named else []
        empty = {"CELLBENCH_HOME": str(tmp_path / "empty"), "CELLBENCH_STORE": str(tmp_path)}
        return command("count", *arguments, *chosen, cwd=str(tmp_path), **empty)

    return go


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_name_in_brackets_is_shown_as_it_is(count, photos):
    (photos / "a.png").rename(photos / "[bold]a.png")
    (photos / "x[").mkdir()
    (photos / "b.tif").rename(photos / "x[" / "red].tif")
    done = count("photos/[bold]a.png", "photos/x[/red].tif")
    assert done.returncode == 0, done.stderr
    for name in ("photos/[bold]a.png", "photos/x[/red].tif"):
        assert name in done.stdout


def test_a_folder_of_pictures_becomes_tables_and_pictures(count, photos, tmp_path):
    done = count("photos", "--um-per-px", "0.5", "--also", "napari", "--also", "qupath")
    assert done.returncode == 0, done.stderr
    counts = rows(tmp_path / "counts" / "counts.csv")
    assert [row["image"] for row in counts] == ["photos/a.png", "photos/b.tif", "photos/c.jpg"]
    points = rows(tmp_path / "counts" / "points.csv")
    for row in counts:
        own = [p for p in points if p["image"] == row["image"]]
        assert float(row["count"]) == len(own) == int(row["points"])
        width, height = int(row["width_px"]), int(row["height_px"])
        assert float(row["per_mm2"]) == pytest.approx(
            len(own) / (width * height * 0.25e-6), rel=1e-5
        )
        assert all(float(p["x_px"]) <= width and float(p["y_px"]) <= height for p in own)
        assert f"{float(row['count']):.1f}" in done.stdout
    assert (counts[1]["width_px"], counts[1]["height_px"]) == ("71", "53")
    assert len(list((tmp_path / "counts" / "pictures").glob("*.png"))) == 3
    for row in counts:
        stem = Path(row["image"]).stem
        (napari,) = (tmp_path / "counts" / "napari").glob(f"{stem}-*.csv")
        assert len(rows(napari)) == int(row["points"])
        (qupath,) = (tmp_path / "counts" / "qupath").glob(f"{stem}-*.geojson")
        features = json.loads(qupath.read_text())["features"]
        assert sum(len(f["geometry"]["coordinates"]) for f in features) == int(row["points"])
    assert json.loads((tmp_path / "counts" / "method.json").read_text())["method"] == "BlobLoG"


def test_what_is_counted_is_not_counted_again(count, photos, tmp_path):
    assert count(str(photos / "a.png"), "--no-pictures").returncode == 0
    assert not (tmp_path / "counts" / "pictures").exists()
    first = (tmp_path / "counts" / "counts.csv").read_bytes()
    assert count(str(photos)).returncode == 0
    assert (tmp_path / "counts" / "counts.csv").read_bytes().startswith(first)
    assert len(rows(tmp_path / "counts" / "counts.csv")) == 3


def test_what_is_missing_beside_the_tables_is_written_later(count, photos, tmp_path):
    assert count(str(photos), "--no-pictures", "--out", "late").returncode == 0
    assert (
        count(str(photos), "--out", "late", "--also", "napari", "--also", "qupath").returncode == 0
    )
    assert (
        count(str(photos), "--out", "once", "--also", "napari", "--also", "qupath").returncode == 0
    )
    names = [
        sorted(path.relative_to(tmp_path / out) for path in (tmp_path / out).rglob("*.*"))
        for out in ("late", "once")
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 3 + 9
    for name in names[0]:
        if name.parent.name == "napari":
            late, once = (rows(tmp_path / out / name) for out in ("late", "once"))
            assert len(late) == len(once)
            for a, b in zip(late, once, strict=True):
                assert float(a["axis-0"]) == pytest.approx(float(b["axis-0"]), abs=0.011)
                assert a["score"] == b["score"]


def test_a_finished_table_is_shown_without_torch(count, photos, command, store, tmp_path):
    assert count(str(photos / "a.png")).returncode == 0
    (run,) = (store / "runs" / "adi-sim").iterdir()
    again = ("count", str(photos / "a.png"), "--with", str(run))
    done = command(*again, cwd=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert " click" in done.stderr  # the list of imports is there
    assert " torch" not in done.stderr


def test_the_folder_of_a_run_can_be_carried_about(count, photos, store, tmp_path):
    (run,) = (store / "runs" / "adi-sim").iterdir()
    carried = tmp_path / "model"
    carried.mkdir()
    for name in ("record.json", "best.safetensors"):
        shutil.copy(run / name, carried / name)
    assert count(str(photos / "a.png"), "--out", "first").returncode == 0
    assert count(str(photos / "a.png"), "--out", "second", named=carried).returncode == 0
    texts = [(tmp_path / out / "counts.csv").read_text() for out in ("first", "second")]
    assert texts[0] == texts[1]


def test_a_damaged_picture_is_named_and_the_others_are_counted(count, photos, tmp_path):
    (photos / "b.tif").write_bytes(b"II*\0junk")
    done = count("photos")
    assert done.returncode == 1
    assert "1 of 3 pictures could not be counted" in done.stderr
    assert "b.tif" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(rows(tmp_path / "counts" / "counts.csv")) == 2


def test_a_link_that_leads_nowhere_is_named_and_the_others_are_counted(count, photos, tmp_path):
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    done = count("photos")
    assert done.returncode == 1
    assert "1 of 4 pictures could not be counted" in done.stderr
    assert "gone.png cannot be opened (No such file or directory)" in done.stderr
    assert len(rows(tmp_path / "counts" / "counts.csv")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_whenever_it_is_stopped_the_same_command_goes_on(count, photos, store, tmp_path, stop):
    for index in range(40):
        shutil.copy(photos / "a.png", photos / f"copy{index:02d}.png")
    (run,) = (store / "runs" / "adi-sim").iterdir()
    asked = [sys.executable, "-m", "cellbench", "count", "photos", "--with", str(run)]
    process = subprocess.Popen(
        asked, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    table = tmp_path / "counts" / "counts.csv"
    while process.poll() is None and not (table.is_file() and table.read_text().count("\n") > 3):
        time.sleep(0.005)
    process.send_signal(stop)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    done = rows(table)
    assert 3 <= len(done) < 43
    assert count("photos").returncode == 0
    again = rows(table)
    assert again[: len(done)] == done
    assert len(again) == 43
    points = [row["image"] for row in rows(tmp_path / "counts" / "points.csv")]
    assert all(points.count(row["image"]) == int(row["points"]) for row in again)


def test_two_processes_do_not_write_into_one_folder(count, photos, tmp_path):
    from cellbench.files.locks import hold_folder

    with hold_folder(tmp_path / "counts", elsewhere="--out", busy="busy"):
        done = count(str(photos))
    assert done.returncode == 2
    assert "Another process is counting into counts" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named", "said"),
    [
        ([], "run", "Name pictures or a folder of them"),
        (["nowhere.png"], "run", "There is no picture or folder 'nowhere.png'"),
        (["empty"], "run", "empty holds no picture"),
        (["photos"], "nothing", "There is no finished run 'nothing'"),
        (["photos"], "nuclei_unet", "did you mean the model 'nuclei-unet'? Or name its folder"),
        (["photos"], "photos", "photos holds no record.json"),
        (["photos", "--scale", "0"], "run", "a number of at least 0.05 and at most 20"),
        (["photos", "--um-per-px", "-1"], "run", "at least 0.0001 and at most 1000."),
        (["photos", "--scale", "nan"], "run", "nan; it takes a number of at least 0.05"),
        ([""], "run", "PICTURE is empty"),
        (["photos", "--out", "photos/a.png"], "run", "name another one with --out"),
        (["photos", "--device", "cuda:9"], "run", "take --device cpu"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(count, photos, tmp_path, arguments, named, said):
    (tmp_path / "empty").mkdir()
    done = count(*arguments) if named == "run" else count(*arguments, named=named)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("named", [None, "nuclei-unet"])
def test_models_that_come_along_count_as_their_records_have_it(named, command, tmp_path):
    """On held-out images of the built-in nuclei; without a name the default is named."""
    record = shipped(named or DEFAULT)
    folder = tmp_path / "photos"
    folder.mkdir()
    images = {image["id"]: image for image in record["images"][:4]}
    stored = open_set("nuclei")
    for image_id in images:
        Image.fromarray(stored.pixels(image_id)).save(folder / f"{image_id}.png")
    chosen = ["--with", named] if named else []
    home = str(tmp_path / "home")
    done = command("count", "photos", *chosen, cwd=str(tmp_path), CELLBENCH_HOME=home)
    assert done.returncode == 0, done.stderr
    said = f"Counted with {DEFAULT}, which comes with cellbench"
    assert (said in done.stdout) == (named is None)
    for row in rows(tmp_path / "counts" / "counts.csv"):
        image = images[Path(row["image"]).stem]
        assert float(row["count"]) == pytest.approx(image["prediction"], rel=0.02, abs=0.2)
        assert float(row["low90"]) <= float(row["count"]) <= float(row["high90"])


def shipped(name):
    folder = Path(kept_models.__file__).parents[1] / "shipped_models" / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    return json.loads((folder / "record.json").read_text())


def test_the_default_is_the_best_of_those_that_come_along_and_counts_nuclei_well():
    """By the error on validation; on held-out fields within 15 % of the mean count."""
    records = {model.name: shipped(model.name) for model in kept_models.kept_models()
               if model.shipped}  # fmt: skip
    errors = {name: one["selection"]["validation_mae"] for name, one in records.items()}
    assert min(errors, key=errors.get) == DEFAULT
    for record in records.values():
        assert (record["dataset"], record["protocol"], record["split"]) == ("nuclei", "v1", 0)
    truth = [image["truth"] for image in records[DEFAULT]["images"]]
    assert records[DEFAULT]["metrics"]["mae"] <= 0.15 * sum(truth) / len(truth)


def test_weights_that_are_not_the_methods_are_told(count, photos, store, tmp_path):
    (run,) = (store / "runs" / "adi-sim").iterdir()
    carried = tmp_path / "model"
    carried.mkdir()
    shutil.copy(run / "record.json", carried)
    gone = count(str(photos), named=carried)
    assert gone.returncode == 2
    assert "The weights of this run are gone" in gone.stderr
    (carried / "best.safetensors").write_bytes(b"\x80\x04junk")
    wrong = count(str(photos), named=carried)
    assert wrong.returncode == 2
    assert "does not hold this method's weights" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_what_is_not_counted_is_listed_with_its_reason(count, photos, tmp_path):
    (photos / "note.txt").write_text("x")
    (photos / "slide.nd2").write_bytes(b"x")
    stack = [Image.new("L", (20, 20), level) for level in (0, 9)]
    stack[0].save(photos / "stack.tif", save_all=True, append_images=stack[1:])
    done = count("photos", "--no-pictures")
    assert done.returncode == 1
    assert "2 of 5 pictures could not be counted" in done.stderr
    reasons = {row["image"]: row["reason"] for row in rows(tmp_path / "counts" / "skipped.csv")}
    assert set(reasons) == {"photos/note.txt", "photos/slide.nd2", "photos/stack.tif"}
    assert (
        "2 pages; name what is counted with --page or --project max. --page all counts each of them"
        in reasons["photos/stack.tif"]
    )
    again = count("photos", "--no-pictures", "--page", "2", "--out", "second")
    assert "photos/a.png has one page" in again.stderr
    counted = rows(tmp_path / "second" / "counts.csv")
    assert [(row["image"], row["notes"]) for row in counted] == [
        ("photos/stack.tif", "page 2 of 2; nothing stands out of the noise")
    ]


def test_where_no_picture_was_counted_none_is_summed(count, tmp_path):
    stack = [Image.new("L", (20, 20), level) for level in (0, 9)]
    stack[0].save(tmp_path / "stack.tif", save_all=True, append_images=stack[1:])
    done = count("stack.tif")
    assert done.returncode == 1
    assert "1 of 1 pictures could not be counted" in done.stderr
    assert "cells in" not in done.stdout
    assert "MAE" not in done.stdout


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_regions_of_a_mac_belong_to_the_picture_of_another_system(count, photos, tmp_path, forms):
    picture, regions = (unicodedata.normalize(form, "Präparat") for form in forms)
    (photos / "a.png").rename(photos / f"{picture}.png")
    (tmp_path / "rois").mkdir()
    _mask(tmp_path).rename(tmp_path / "rois" / f"{regions}_mask.png")
    done = count(f"photos/{picture}.png", "--roi", "rois", "--no-pictures")
    assert done.returncode == 0, done.stderr
    assert "region 2" in {row["region"] for row in rows(tmp_path / "counts" / "regions.csv")}


def test_cells_of_regions_are_those_of_the_picture(count, photos, tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[:, :30], mask[:, 50:] = 1, 2
    (tmp_path / "rois").mkdir()
    Image.fromarray(mask).save(tmp_path / "rois" / "a_mask.png")
    done = count("photos/a.png", "--roi", "rois", "--um-per-px", "2", "--no-pictures")
    assert done.returncode == 0, done.stderr
    regions = rows(tmp_path / "counts" / "regions.csv")
    assert [row["region"] for row in regions] == ["region 1", "region 2", "outside all regions"]
    (whole,) = rows(tmp_path / "counts" / "counts.csv")
    assert sum(int(row["count"]) for row in regions) == int(whole["points"])
    assert float(regions[0]["area_mm2"]) == pytest.approx(60 * 30 * 4e-6)
    without = count("photos/b.tif", "--roi", "rois", "--no-pictures", "--out", "other")
    assert without.returncode == 1
    assert "rois holds no file of regions for b.tif" in without.stderr
    assert count("photos", "--roi", "nowhere").returncode == 2


def test_after_a_first_try_that_counted_nothing_the_same_folder_takes_other_settings(
    count, tmp_path
):
    stack = [Image.new("L", (20, 20), level) for level in (0, 9)]
    stack[0].save(tmp_path / "stack.tif", save_all=True, append_images=stack[1:])
    assert count("stack.tif").returncode == 1
    typo = count("stack.tif", "--page", "3")
    assert (typo.returncode, "another folder" in typo.stderr) == (1, False)
    assert count("stack.tif", "--page", "2").returncode == 0
    other = count("stack.tif", "--page", "1")
    assert other.returncode == 2
    assert "--page was 2 and is 1; give the same settings again" in other.stderr


def test_pictures_that_are_counted_later_are_in_the_corrected_table_too(count, photos, tmp_path):
    assert count("photos/a.png", "--no-pictures").returncode == 0
    counts = tmp_path / "counts"
    assert not (counts / "counts-corrected.csv").exists()
    ViewSession(read_counted(counts), annotator="anna").change(0, [["added", 3, 4]])
    (before,) = rows(counts / "counts-corrected-anna.csv")
    assert count("photos", "--no-pictures").returncode == 0
    after = rows(counts / "counts-corrected-anna.csv")
    assert after[0] == before
    assert int(before["count"]) == int(before["method_count"]) + 1
    assert [row["image"] for row in after] == ["photos/a.png", "photos/b.tif", "photos/c.jpg"]
    assert not (counts / "counts-corrected.csv").exists()
    (counts / "corrected-anna.csv").write_text("damaged")
    again = count("photos", "--no-pictures")
    assert again.returncode == 0, again.stderr
    assert "The corrected tables are out of date" in again.stderr + again.stdout
    assert rows(counts / "counts-corrected-anna.csv") == after


@pytest.mark.usefixtures("home")
def test_every_time_point_is_counted_as_if_it_were_a_picture(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 255, (3, 60, 80), dtype=np.uint8)
    (tmp_path / "films").mkdir()
    axes = {"axes": "TYX"}
    tifffile.imwrite(tmp_path / "films" / "a.tif", frames, imagej=True, metadata=axes)
    Image.fromarray(frames[0]).save(tmp_path / "films" / "b.png")
    done = count("films", "--page", "all", "--group", r"_T(\d)", "--no-pictures")
    assert done.returncode == 2, "b.png has no time"
    done = count("films/a.tif", "--page", "all", "--group", r"_T(\d)")
    assert done.returncode == 0, done.stderr
    every = rows(tmp_path / "counts" / "counts.csv")
    assert [row["notes"].split("; ")[:2] for row in every] == [
        ["plane of films/a.tif", f"time point {number} of 3"] for number in (1, 2, 3)
    ]
    assert len(list((tmp_path / "counts" / "pictures").glob("a_T*.png"))) == 3
    groups = rows(tmp_path / "counts" / "estimates.csv")
    assert {row["group"] for row in groups} >= {"1", "2", "3"}
    counts = tmp_path / "counts"
    session = ViewSession(read_counted(counts))
    for index in range(3):
        session.change(index, [["added", 3, 4]])
    # Also beside a picture that is no plane, and after a count of another stack.
    tifffile.imwrite(tmp_path / "c d.tif", frames[:2], imagej=True, metadata=axes)
    assert count("c d.tif", "films", "--page", "all", "--no-pictures").returncode == 0
    session = ViewSession(read_counted(counts))
    for index in range(3, 6):
        session.change(index, [["added", 3, 4]])
    stored = import_own("planes-of-films", counts)
    groups = {stored.group(image_id) for image_id in stored.ids}
    assert len(stored) == 6
    assert len(groups) == 3, groups
    for number, row in enumerate(every, start=1):
        assert row["image"].startswith(f"counts/planes/a_T{number}-")
        assert count("films/a.tif", "--page", str(number), "--out", f"o{number}").returncode == 0
        (alone,) = rows(tmp_path / f"o{number}" / "counts.csv")
        for column in ("count", "points", "width_px", "height_px", "black", "white"):
            assert row[column] == alone[column]
        assert row["notes"] == f"plane of films/a.tif; {alone['notes']}"
    first = (tmp_path / "counts" / "counts.csv").read_bytes()
    assert count("films", "c d.tif", "--page", "all").returncode == 0
    assert (tmp_path / "counts" / "counts.csv").read_bytes() == first
    other = count("films", "--page", "2")
    assert other.returncode == 2
    assert "--page was all and is 2" in " ".join(other.stderr.split())
    below = count(".", "--recursive", "--page", "1", "--out", "third")
    seen = [row["image"] for row in rows(tmp_path / "third" / "counts.csv")]
    assert "films/a.tif" in seen, below.stderr
    assert not [name for name in seen if name.startswith("counts/")]


def test_a_copy_of_a_stack_is_named_and_other_settings_are_refused_before_unpacking(
    count, photos, tmp_path
):
    frames = np.random.default_rng(5).integers(0, 255, (2, 40, 40), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / "films" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "films" / name / "film.tif", frames, photometric="minisblack")
    films = ("films", "--recursive", "--page", "all", "--no-pictures")
    assert count("photos/a.png", "--no-pictures").returncode == 0
    assert count(*films).returncode == 2
    assert not (tmp_path / "counts" / "planes").exists()
    done = count(*films, "--out", "other")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "other" / "counts.csv")) == 2
    (copy,) = rows(tmp_path / "other" / "skipped.csv")
    assert copy["image"] == str(Path("films/b/film.tif"))
    reason = f"it is a copy of {Path('films/a/film.tif')}, whose planes are counted"
    assert copy["reason"] == reason


def test_planes_of_a_count_that_was_killed_are_no_pictures(count, tmp_path):
    frames = np.random.default_rng(6).integers(0, 255, (2, 40, 40), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", frames, photometric="minisblack")
    stopped = count(".", "--recursive", "--page", "all", "--group", "(other)", "--no-pictures")
    assert stopped.returncode == 2, "ends after stacks were unpacked"
    assert len(list((tmp_path / "counts" / "planes").iterdir())) == 2
    done = count(".", "--recursive", "--page", "1", "--no-pictures", "--out", "other")
    assert done.returncode == 0, done.stderr
    assert [row["image"] for row in rows(tmp_path / "other" / "counts.csv")] == ["film.tif"]


def test_a_workbook_follows_the_tables_once_it_is_there(count, photos, tmp_path):
    def counted():
        sheet = openpyxl.load_workbook(tmp_path / "counts" / "counts.xlsx")["counts"]
        return [(row[0], row[1]) for row in sheet.iter_rows(min_row=2, values_only=True)]

    def table():
        return [
            (row["image"], float(row["count"])) for row in rows(tmp_path / "counts" / "counts.csv")
        ]

    done = count("photos/a.png", "--no-pictures", "--excel", "--roi", str(_mask(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert counted() == table()
    assert count("photos", "--no-pictures").returncode == 0
    assert counted() == table()
    assert len(table()) == 3
    assert not list((tmp_path / "counts").glob("*.xlsx.*"))


def test_a_workbook_that_cannot_be_written_costs_no_count(count, photos, tmp_path):
    (tmp_path / "counts" / "counts.xlsx").mkdir(parents=True)
    done = count("photos", "--no-pictures", "--excel")
    assert done.returncode == 0, done.stderr
    assert "counts.xlsx could not be written" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(rows(tmp_path / "counts" / "counts.csv")) == 3


def _mask(folder):
    """Write a mask picture of two regions for a.png."""
    regions = np.zeros((60, 80), np.uint8)
    regions[:30], regions[30:] = 1, 2
    Image.fromarray(regions).save(folder / "regions.png")
    return folder / "regions.png"
