import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cellbench.data.importing import import_set
from cellbench.data.set_damage import verify_set
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.errors import UserError

SHARED = os.environ.get("CELLBENCH_SHARED")


def raw_vgg(folder, count=4, size=(20, 16)):
    """A raw copy in VGG's layout: image i has i + 1 dots along the diagonal."""
    folder.mkdir(parents=True)
    width, height = size
    for index in range(count):
        rng = np.random.default_rng(index)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        dots = np.zeros_like(pixels)
        for step in range(min(index + 1, height)):
            dots[step, step, 0] = 255
        Image.fromarray(pixels).save(folder / f"{index + 1:03d}cell.png")
        Image.fromarray(dots).save(folder / f"{index + 1:03d}dots.png")
    return folder


@pytest.fixture
def raw(tmp_path):
    return raw_vgg(tmp_path / "raw" / "cells")


def refused(raw, match, name="vgg"):
    """The import stops with one sentence and leaves nothing."""
    with pytest.raises(UserError, match=match) as caught:
        import_set(name, raw)
    assert "\n" not in str(caught.value)
    assert not is_on_disk(name)


def test_pictures_keep_their_bytes_and_dots_become_pixel_centres(home, raw):
    seen = []
    report = import_set("vgg", raw, progress=lambda done, total: seen.append((done, total)))
    stored = open_set("vgg")
    assert report.images == 4
    assert (report.mean, round(report.sd, 3)) == (2.5, 1.118)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for index, name in enumerate(stored.ids):
        copy = (stored.folder / "images" / f"{name}.png").read_bytes()
        assert copy == (raw / f"{name}cell.png").read_bytes()
        expected = [[i + 0.5, i + 0.5] for i in range(index + 1)]
        np.testing.assert_array_equal(stored.sample(name).points, expected)


def test_the_folder_or_its_parent_may_be_named(home, raw):
    first = import_set("vgg", raw.parent).stored
    second = import_set("vgg", raw.parent.parent, force=True).stored
    assert first.manifest_hash == second.manifest_hash


def test_what_is_unusual_is_noted(home, raw):
    shutil.copy(raw / "001cell.png", raw / "004cell.png")
    notes = "\n".join(import_set("vgg", raw).notes)
    assert "0 of 400 files are the published ones." in notes
    assert "VGG has 200 images as distributed, here are 4" in notes
    assert "2.5 ± 1.1 cells an image are not the 176.0 ± 61.2" in notes
    assert "004 is the same picture as 001." in notes


def test_an_import_over_a_set_needs_force(home, raw):
    import_set("vgg", raw)
    with pytest.raises(UserError, match="on disk already; --force"):
        import_set("vgg", raw)
    (raw / "004cell.png").unlink()
    (raw / "004dots.png").unlink()
    assert import_set("vgg", raw, force=True).images == 3


def test_a_missing_partner_is_named_and_nothing_is_imported(home, raw):
    for name in ("001", "002", "003", "004"):
        (raw / f"{name}dots.png").unlink()
    refused(raw, r"4 images of vgg without annotation: 001cell.png, 002cell.png, 003cell.png and 1")


def test_an_annotation_without_picture_is_named(home, raw):
    (raw / "003cell.png").unlink()
    refused(raw, r"1 annotations have no image: 003dots.png")


def test_an_annotation_of_another_size_is_named(home, raw):
    Image.new("RGB", (16, 20)).save(raw / "002dots.png")
    refused(raw, r"002dots.png is 16x20 px and its picture 20x16 px")


@pytest.mark.parametrize("which", ["002cell.png", "002dots.png"])
@pytest.mark.parametrize("keep", [0, 40, 60])
def test_a_damaged_file_is_named(home, raw, which, keep):
    data = (raw / which).read_bytes()
    (raw / which).write_bytes(data[: len(data) * keep // 100])
    refused(raw, rf"{which} is (damaged|empty)")


def test_an_image_without_dots_has_no_cells(home, raw):
    Image.new("RGB", (20, 16)).save(raw / "002dots.png")
    import_set("vgg", raw)
    assert open_set("vgg").sample("002").points.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("19.9 15.9", True),
        ("0.0 0.0", True),
        ("20.0 3.0", False),
        ("-0.5 3", False),
        ("20 3", False),
    ],
)
def test_points_outside_the_picture_stop_the_import(home, tmp_path, text, ok):
    folder = tmp_path / "converted"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    Image.new("RGB", (20, 16)).save(folder / "images" / "1.png")
    (folder / "labels" / "1.txt").write_text(f"1.5 1.5\n{text}\n")
    if ok:
        assert import_set("vgg", folder).mean == 2
    else:
        refused(folder, r"1\.txt has 1 of 2 points outside its picture of 20x16 px, the first at")


@pytest.mark.parametrize("name", ["adi", "mbm", "vgg"])
def test_a_converted_copy_of_any_set_is_taken(home, tmp_path, name):
    for part in ("train", "test"):
        (tmp_path / "c" / part / "images").mkdir(parents=True)
        (tmp_path / "c" / part / "annotations").mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / "c" / part / "images" / f"{part}1.png")
        (tmp_path / "c" / part / "annotations" / f"{part}1.txt").write_text("1 2\n1 2\n3 4\n")
    report = import_set(name, tmp_path / "c")
    assert report.stored.ids == ["test1", "train1"]
    assert report.stored.part("test1") is None
    np.testing.assert_array_equal(
        report.stored.sample("test1").points, [[1.5, 2.5], [1.5, 2.5], [3.5, 4.5]]
    )
    notes = "\n".join(report.notes)
    assert "0.5 was added. (2 images)" in notes
    assert "test1 has 1 points that are there twice" in notes


def test_a_link_out_of_the_folder_is_refused(home, raw, tmp_path):
    shutil.move(raw / "002cell.png", tmp_path / "secret.png")
    (raw / "002cell.png").symlink_to(tmp_path / "secret.png")
    refused(raw, r"002cell.png is a link that leads out")


def test_a_pipe_is_never_waited_for(home, raw):
    (raw / "002dots.png").unlink()
    os.mkfifo(raw / "002dots.png")
    refused(raw, r"without annotation: 002cell.png")


def test_links_in_a_circle_are_not_followed(home, raw):
    (raw / "again").symlink_to(raw.parent)
    assert import_set("vgg", raw.parent).images == 4


def test_weird_names_become_safe_ids_that_stay_apart(home, tmp_path):
    folder = tmp_path / "c"
    for kind in ("images", "annotations"):
        (folder / kind).mkdir(parents=True)
        for name in ("a b", "a*b", "ä\n", "-rf", "plain"):
            Image.new("RGB", (9, 9)).save(folder / kind / f"{name}.png")
    ids = import_set("adi", folder).stored.ids
    assert len(ids) == 5
    assert "plain" in ids
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for i in ids)
    assert not any(i.startswith("-") for i in ids)


def test_two_files_that_go_by_one_name_are_refused(home, raw):
    shutil.copy(raw / "001cell.png", raw / "001cell.bmp")
    refused(raw, r"001cell.bmp and 001cell.png go by one name")


def test_a_folder_without_the_set_says_what_it_looked_for(home, tmp_path):
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", r"hold no <nnn>cell.png with <nnn>dots.png")
    refused(tmp_path / "absent", "absent does not exist")
    with pytest.raises(UserError, match="did you mean 'vgg'"):
        import_set("vgb", tmp_path)


def test_one_byte_beyond_the_published_is_seen(home, tmp_path, raw, monkeypatch):
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in raw.iterdir()}
    files["005cell.png"] = "0" * 64
    manifest = tmp_path / "vgg.json"
    manifest.write_text(json.dumps({"root": "cells", "files": files}))
    from cellbench.registry import DATASETS

    monkeypatch.setattr(DATASETS.get("vgg"), "manifest", manifest)
    with (raw / "001cell.png").open("ab") as stream:
        stream.write(b"\0")
    report = import_set("vgg", raw)
    assert report.published == (7, 9)
    notes = "\n".join(report.notes)
    assert "7 of 9 files are the published ones." in notes
    assert "Not as published: 001cell.png." in notes
    assert "Published and not there: 005cell.png." in notes


def test_a_copied_set_imports_to_the_same_hash(home, raw, tmp_path):
    first = import_set("vgg", raw).stored.manifest_hash
    shutil.copytree(raw, tmp_path / "elsewhere" / "cells")
    assert import_set("vgg", tmp_path / "elsewhere", force=True).stored.manifest_hash == first


KILLED = """
import sys, time
from pathlib import Path
from cellbench.data.importing import import_set
def progress(done, total):
    if done == 3:
        print("there", flush=True)
        time.sleep(60)
import_set("vgg", Path(sys.argv[1]), progress=progress)
"""


def test_kill_9_in_the_middle_of_an_import_leaves_nothing_half_written(home, raw):
    arguments = [sys.executable, "-c", KILLED, str(raw)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    assert not is_on_disk("vgg")
    assert not (home / "data" / "vgg").exists()
    assert verify_set(import_set("vgg", raw).stored) == []
    assert sorted(p.name for p in (home / "data").iterdir()) == [".vgg.lock", "vgg"]


if SHARED:

    @pytest.mark.parametrize(
        ("name", "folder", "images", "mean", "sd"),
        [
            ("adi", "adipocyte_data", 200, 155.1, 35.9),
            ("mbm", "MBM_data", 44, 126.2, 33.1),
            ("vgg", "cells", 200, 176.0, 61.2),
        ],
    )
    def test_the_real_sets_have_the_counts_of_their_publication(
        home, name, folder, images, mean, sd
    ):
        report = import_set(name, f"{SHARED}/data")
        assert report.images == images
        assert (round(report.mean, 1), round(report.sd, 1)) == (mean, sd)
        assert report.published == (2 * images, 2 * images)
        assert report.notes == (f"{2 * images} of {2 * images} files are the published ones.",)
        assert verify_set(report.stored) == []
        groups = {report.stored.group(i) for i in report.stored.ids}
        assert (len(groups) == 8) if name == "mbm" else True
