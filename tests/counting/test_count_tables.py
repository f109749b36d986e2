"""Claims about the tables of a user's pictures: tidy, resumable, untorn, safe in a spreadsheet."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellbench import count
from cellbench.counting.count_exports import Exporter
from cellbench.counting.count_rows import Counted, csv_lines, shown_name
from cellbench.counting.count_tables import CountTables
from cellbench.data.reader import DEFAULT_READ_OPTIONS
from cellbench.errors import UserError
from cellbench.structures import Prediction

METHOD = {"run_id": "ab", "scale": 1.0}


def prediction(count, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 90, (count, 2)).astype(np.float32)
    return Prediction(float(count), points, rng.random(count).astype(np.float32))


def counted(image, points, sha256="s", per_mm2=None):
    return Counted(image, float(points), per_mm2, (100, 90), points, sha256)


def lines(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def tables(folder, **hashes):
    return CountTables(folder / "counts", METHOD, hashes)


def test_a_line_a_picture_and_a_line_a_cell(tmp_path):
    first = tables(tmp_path)
    found = prediction(3)
    first.add(counted("a.png", 3, per_mm2=12.5), found)
    first.add(counted("b.png", 0), prediction(0))
    shown = lines(first.folder / "counts.csv")
    assert [row["image"] for row in shown] == ["a.png", "b.png"]
    assert [row["count"] for row in shown] == ["3", "0"]
    assert [row["per_mm2"] for row in shown] == ["12.5", ""]
    points = lines(first.folder / "points.csv")
    read = [[float(row["x_px"]), float(row["y_px"])] for row in points]
    np.testing.assert_allclose(read, found.points, atol=0.006)
    assert {row["image"] for row in points} == {"a.png"}


@pytest.mark.parametrize("scored", [True, False])
def test_what_was_found_is_known_again(tmp_path, scored):
    first = tables(tmp_path)
    found = prediction(5)
    if not scored:
        found = Prediction(found.count, found.points)
    first.add(counted("a", 5), found)
    first.add(counted("b", 0), prediction(0))
    first.add(Counted("c", 1.5, None, (9, 9), None, "s"), Prediction(1.5))
    again = tables(tmp_path).found(["a", "b", "c"])
    assert list(again) == ["a", "b"]
    np.testing.assert_allclose(again["a"].points, found.points, atol=0.006)
    if scored:
        np.testing.assert_allclose(again["a"].scores, found.scores, atol=6e-5)
    else:
        assert again["a"].scores is None
    assert again["b"].points.shape == (0, 2)


def test_a_method_without_points_has_a_count_alone(tmp_path):
    first = tables(tmp_path)
    first.add(Counted("a.png", 12.25, None, (10, 10), None, "s"), Prediction(12.25))
    assert lines(first.folder / "counts.csv")[0]["count"] == "12.25"
    assert tables(tmp_path).done["a.png"].points is None


def test_what_is_counted_stays(tmp_path):
    first = tables(tmp_path)
    for index, name in enumerate("abc"):
        first.add(counted(name, 4), prediction(4, index))
    before = [(first.folder / name).read_bytes() for name in ("counts.csv", "points.csv")]
    again = tables(tmp_path)
    assert again.done == first.done
    assert before == [(first.folder / name).read_bytes() for name in ("counts.csv", "points.csv")]


@pytest.mark.parametrize("name", ["counts.csv", "points.csv"])
def test_wherever_a_kill_cuts_a_table_whole_pictures_stay(tmp_path, name):
    first = tables(tmp_path)
    for index, image in enumerate("abc"):
        first.add(counted(image, 4), prediction(4, index))
    path = first.folder / name
    whole = {p: (first.folder / p).read_bytes() for p in ("counts.csv", "points.csv")}
    for cut in range(0, len(whole[name]), 7):
        for p, data in whole.items():
            (first.folder / p).write_bytes(data)
        path.write_bytes(whole[name][:cut])
        again = tables(tmp_path)
        assert set(again.done) <= set("abc")
        points = lines(again.folder / "points.csv")
        assert len(points) == 4 * len(again.done)
        assert [row["image"] for row in lines(again.folder / "counts.csv")] == list(again.done)
        for index, image in enumerate("abc"):
            if image not in again.done:
                again.add(counted(image, 4), prediction(4, index))
        assert sorted(map(str, lines(again.folder / "points.csv"))) == sorted(
            str(row) for row in csv.DictReader(whole["points.csv"].decode().splitlines())
        )


def test_cells_without_their_pictures_line_are_dropped(tmp_path):
    first = tables(tmp_path)
    first.add(counted("a", 2), prediction(2))
    with (first.folder / "points.csv").open("a") as stream:
        stream.write("b,1.00,1.00,0.5000\n")
    assert len(lines(tables(tmp_path).folder / "points.csv")) == 2


def test_a_table_that_somebody_edited_is_not_believed(tmp_path):
    first = tables(tmp_path)
    for image in "ab":
        first.add(counted(image, 2), prediction(2))
    path = first.folder / "points.csv"
    lines = path.read_text().splitlines()
    lines[1] = "a,here,there,1.0"
    path.write_text("\n".join(lines) + "\n")
    assert list(tables(tmp_path).done) == ["b"]


def test_a_picture_that_has_changed_is_counted_again(tmp_path):
    tables(tmp_path).add(counted("a", 2, sha256="old"), prediction(2))
    assert "a" in tables(tmp_path, b="x").done
    again = tables(tmp_path, a="new")
    assert again.done == {}
    assert lines(again.folder / "points.csv") == []


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"scale": 1.0}, {"scale": 2.0}, "--scale was 1 and is 2;"),
        ({}, {"um_per_px": 0.25}, "--um-per-px was not given and is 0.25;"),
        (
            {"reading": {"planes": {"channel": "1"}, "range": None, "invert": False}},
            {"reading": {"planes": {"channel": None}, "range": (0, 9), "invert": True}},
            "--channel was 1 and is not given; --range was not given and is 0 9; "
            "--invert was not given and is given;",
        ),
        (
            {"method": "MeanCount", "dataset": "adi"},
            {"method": "BlobLoG", "dataset": "mbm", "run_id": "cd"},
            "--with was MeanCount of adi (ab) and is BlobLoG of mbm (cd);",
        ),
        ({"thresholds": 1}, {"thresholds": 2}, "thresholds, correction or the rule"),
    ],
)
def test_counts_of_other_settings_are_not_mixed_in_and_the_difference_is_named(
    tmp_path, before, now, said
):
    first = CountTables(tmp_path / "counts", METHOD | before, {})
    first.add(counted("a", 2), prediction(2))
    with pytest.raises(UserError) as refused:
        CountTables(tmp_path / "counts", METHOD | now, {})
    assert said in str(refused.value)
    assert str(refused.value).endswith("or name another folder with --out.")
    assert list(CountTables(tmp_path / "counts", METHOD | before, {}).done) == ["a"]


def test_tables_without_a_count_are_taken_over(tmp_path):
    tables(tmp_path)
    second = CountTables(tmp_path / "counts", METHOD | {"scale": 2.0}, {})
    second.add(counted("a", 2), prediction(2))
    assert '"scale": 2.0' in (tmp_path / "counts" / "method.json").read_text()
    assert len(lines(tmp_path / "counts" / "counts.csv")) == 1


def test_a_line_that_was_torn_is_no_count(tmp_path):
    first = tables(tmp_path)
    with (first.folder / "counts.csv").open("a") as stream:
        stream.write("a,2,")
    assert CountTables(tmp_path / "counts", METHOD | {"scale": 2.0}, {}).done == {}


@pytest.mark.parametrize("name", ["method.json", "counts.csv"])
@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe\x00"])
def test_a_file_that_is_someone_elses_stops_the_taking_over(tmp_path, name, content):
    file = tables(tmp_path).folder / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"name another folder with --out"):
        CountTables(tmp_path / "counts", METHOD | {"scale": 2.0}, {})
    assert file.read_bytes() == content


def test_a_table_of_someone_elses_is_not_written_over(tmp_path):
    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "counts.csv").write_text("mine\n")
    with pytest.raises(UserError, match=r"name another folder with --out"):
        tables(tmp_path)
    assert (tmp_path / "counts" / "counts.csv").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=cmd().png", "'=cmd().png"),
        ("a\nb.png", "a b.png"),
        ("a\x1b[31m.png", "a[31m.png"),
        ("zellen ä.png", "zellen ä.png"),
        ("bad\udcff.png", "bad.png"),
        ("Image  1.png", "Image  1.png"),
        ("Shot 3.05\u202fPM.png", "Shot 3.05\u202fPM.png"),
    ],
)
def test_names_are_safe_in_a_spreadsheet_and_a_terminal(tmp_path, name, shown):
    assert shown_name(Path(name)) == shown
    first = tables(tmp_path)
    first.add(counted(shown_name(Path(name)), 1), prediction(1))
    assert list(tables(tmp_path).done) == [shown]


def test_a_full_disk_is_one_sentence_and_the_pictures_before_stay(tmp_path):
    first = tables(tmp_path)
    first.add(counted("a", 2), prediction(2))
    points = first.folder / "points.csv"
    points.rename(tmp_path / "kept")
    points.symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left"):
        first.add(counted("b", 2), prediction(2))
    points.unlink()
    (tmp_path / "kept").rename(points)
    assert list(tables(tmp_path).done) == ["a"]


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace("image,count", "image,treatment,count"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("notes", "notés").encode("latin-1"),
    ],
    ids=["column", "bom", "semicolons", "latin-1"],
)
def test_a_table_that_somebody_changed_is_refused_and_stays(tmp_path, changed):
    first = tables(tmp_path)
    first.add(counted("a", 2), prediction(2))
    path = first.folder / "counts.csv"
    text = changed(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    with pytest.raises(UserError, match="would be written over; move it away"):
        tables(tmp_path)
    assert path.read_bytes() == before


def test_a_table_of_a_version_without_intervals_goes_on(tmp_path):
    first = tables(tmp_path)
    first.add(counted("a", 2), prediction(2))
    path = first.folder / "counts.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    kept = [i for i, name in enumerate(rows[0]) if name not in ("low90", "high90")]
    path.write_bytes(csv_lines([[row[i] for i in kept] for row in rows]))
    again = tables(tmp_path)
    assert again.done == {"a": replace(first.done["a"], interval=None)}


def test_a_picture_that_was_moved_or_named_otherwise_keeps_its_one_line(tmp_path):
    picture = tmp_path / "old.png"
    picture.write_bytes(b"picture")
    name, sha256 = str(picture), counted("a", 2).sha256
    first = tables(tmp_path)
    first.add(counted(name, 2), prediction(2))
    relative = str(tmp_path / "x" / ".." / "old.png")
    (tmp_path / "x").mkdir()
    assert list(CountTables(first.folder, METHOD, {relative: sha256}).done) == [relative]
    picture.rename(tmp_path / "new.png")
    new = str(tmp_path / "new.png")
    moved = CountTables(first.folder, METHOD, {new: sha256})
    assert list(moved.done) == [new]
    assert len(moved.found([new])[new].points) == 2
    # A copy is a picture of its own.
    both = CountTables(first.folder, METHOD, {str(tmp_path / "copy.png"): sha256, new: sha256})
    assert list(both.done) == [new]


def test_pictures_of_one_content_that_were_moved_keep_one_line_each(tmp_path):
    first = tables(tmp_path)
    for name in ("old/a.png", "old/b.png"):
        first.add(counted(str(tmp_path / name), 2), prediction(2))
    moved = {str(tmp_path / name): "s" for name in ("new/b.png", "new/a.png")}
    again = CountTables(first.folder, METHOD, moved)
    assert set(again.done) == set(moved)
    assert [line["image"] for line in lines(first.folder / "counts.csv")] == list(again.done)
    assert {len(found.points) for found in again.found(list(moved)).values()} == {2}


def test_two_pictures_that_the_tables_cannot_tell_apart_are_refused_by_name(tmp_path, home):
    (tmp_path / "in").mkdir()
    for name in ("a b.png", "a\nb.png"):
        (tmp_path / "in" / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"Two pictures are called .*a b\.png.*; rename one"):
        count(tmp_path / "in", out=tmp_path / "out")


def test_a_marked_picture_of_a_long_name_has_one_that_a_disk_takes(tmp_path):
    files = Exporter(tmp_path, True, ("napari",), DEFAULT_READ_OPTIONS)
    for sign in ("a", "\u7d30"):
        path = Path(f"{sign * (250 // len(sign.encode()))}.png")
        for file in files.files(counted("x", 1, sha256="5" * 64), path).values():
            assert len(file.name.encode()) <= 255
            assert "55555555" in file.name


_IN_ASCII = """
import os, sys
from pathlib import Path
from cellbench.counting.count_exports import Exporter
from cellbench.counting.count_rows import Counted
from cellbench.data.reader import DEFAULT_READ_OPTIONS
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically

folder = Path(sys.argv[1])
(picture,) = folder.glob("*.png")
one = Counted("a", 1.0, None, (9, 9), 1, "5" * 64)
exporter = Exporter(folder, True, (), DEFAULT_READ_OPTIONS)
write_atomically(exporter.files(one, picture)["pictures"], b"")
try:
    write_atomically(folder / (chr(252) + ".csv"), b"")
except UserError as error:
    sys.stdout.write(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has Unicode names everywhere")
def test_names_are_the_same_where_the_system_has_no_unicode(tmp_path):
    (tmp_path / "Präparat.png").write_bytes(b"")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", _IN_ASCII, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **ascii_alone}, timeout=60
    )
    assert done.stderr == ""
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["Präparat-55555555.png"]
    assert "lacks signs of its name; set LC_ALL to C.UTF-8" in done.stdout
