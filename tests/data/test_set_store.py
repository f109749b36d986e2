import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from cellbench.data.images import encode_png
from cellbench.data.manifests import read_manifest
from cellbench.data.set_damage import Damage, verify_set
from cellbench.data.set_writer import NewItem, write_set
from cellbench.data.stored_set import is_on_disk, open_set, sets_on_disk
from cellbench.errors import UserError

RNG = np.random.default_rng(5)


def item(name, *, drawn=False, n=4, **fields):
    rng = np.random.default_rng(len(name) + n)
    pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    points = rng.uniform(0, 6, (n, 2)).astype(np.float32)
    return NewItem(name, pixels if drawn else encode_png(pixels), (8, 6), points, **fields)


def write(name="toy", items=None, **fields):
    items = items if items is not None else [item("b", part="test"), item("a", group="g")]
    return write_set(name, items, source="a test", **fields)


def left_over(home):
    return [p.name for p in (home / "data").iterdir() if not p.name.endswith(".lock")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image_id": "../a"}, "cannot be the id of an image"),
        ({"points": np.array([[8, 1]], np.float32)}, "outside of its 8x6 px"),
        ({"points": np.array([[np.nan, 1]], np.float32)}, "outside of its 8x6 px"),
        ({"picture": np.zeros((6, 8, 1), np.uint8)}, "not \\(H, W, 3\\)"),
    ],
)
def test_what_no_reader_could_use_is_refused_and_nothing_is_left(home, wrong, words):
    with pytest.raises(UserError, match=words):
        write(items=[item("b"), replace(item("a"), **wrong)])
    assert left_over(home) == []


def test_what_is_written_is_read_back(home):
    stored = write(notes=["Something was assumed."])
    again = open_set("toy")
    assert again.ids == ["a", "b"]
    assert again.notes == ("Something was assumed.",)
    assert again.manifest_hash == stored.manifest_hash
    assert (again.part("b"), again.part("a"), again.group("a")) == ("test", None, "g")
    sample = again.sample("a")
    assert (sample.image_id, sample.size, sample.count) == ("a", (8, 6), 4)
    np.testing.assert_array_equal(sample.points, item("a").points)
    assert again.pixels("a").shape == (6, 8, 3)
    assert encode_png(again.pixels("a")) == item("a").picture
    assert sets_on_disk() == ["toy"]
    assert verify_set(again) == []


def test_bytes_of_pictures_are_kept_unchanged(home):
    stored = write(items=[item("a", suffix=".jpeg")])
    assert (stored.folder / "images" / "a.jpeg").read_bytes() == item("a").picture


def test_an_image_without_cells_is_kept(home):
    stored = write(items=[item("a", n=0)])
    assert stored.sample("a").points.shape == (0, 2)


def test_the_hash_depends_on_contents_alone(home, monkeypatch, tmp_path):
    first = write().manifest_hash
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "elsewhere"))
    items = [item("a", group="g"), item("b", part="test")]
    assert write_set("toy", items, source="other", notes=["x"]).manifest_hash == first


@pytest.mark.parametrize(
    "changed",
    [
        [item("a", group="h"), item("b", part="test")],
        [item("a", group="g"), item("b", part="train")],
        [item("a", group="g", n=5), item("b", part="test")],
        [item("a", group="g")],
        [item("a", group="g"), item("c", part="test")],
    ],
)
def test_the_hash_sees_every_change(home, changed):
    assert write("one").manifest_hash != write("two", items=changed).manifest_hash


def test_the_hash_of_a_drawn_set_survives_another_png_encoder(home, monkeypatch):
    first = write(items=[item("a", drawn=True)], stands_for="adi")
    monkeypatch.setattr(
        "cellbench.data.set_writer.encode_png", lambda pixels: encode_png(pixels) + b"\0"
    )
    second = write(items=[item("a", drawn=True)], stands_for="adi", force=True)
    assert first.manifest.entries != second.manifest.entries
    assert first.manifest_hash == second.manifest_hash
    assert second.simulated
    assert second.stands_for == "adi"


def test_an_absent_set_names_the_command_that_mends_it(home):
    assert not is_on_disk("adi")
    with pytest.raises(UserError, match="cellbench data import adi --from DIR"):
        open_set("adi")


@pytest.mark.parametrize("name", ["../adi", "a/b", "", ".adi", "ADI", "a.b"])
def test_a_name_never_leads_out_of_the_home(home, name):
    with pytest.raises(UserError, match="no name of a data set"):
        is_on_disk(name)


def test_a_set_is_replaced_only_by_force(home):
    write()
    with pytest.raises(UserError, match=r"on disk already.*--force"):
        write(items=[item("z")])
    assert open_set("toy").ids == ["a", "b"]
    write(items=[item("z")], force=True)
    assert open_set("toy").ids == ["z"]
    assert left_over(home) == ["toy"]


@pytest.mark.parametrize("second", ["a", "A"])
def test_two_images_of_one_name_are_refused(home, second):
    with pytest.raises(UserError, match="Two images"):
        write(items=[item("a"), item(second)])
    assert left_over(home) == []


def test_an_error_while_items_are_read_leaves_nothing(home):
    def items():
        yield item("a")
        raise UserError("The next one is damaged.")

    with pytest.raises(UserError, match="damaged"):
        write(items=items())
    assert left_over(home) == []
    with pytest.raises(KeyboardInterrupt):
        write(items=(_ for _ in iter(interrupt, None)))
    assert left_over(home) == []


def interrupt():
    raise KeyboardInterrupt


def test_a_full_disk_is_one_sentence_and_leaves_the_old_set(home, monkeypatch):
    write()
    calls = iter(range(100))

    def fsync(_):
        if next(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("cellbench.files.writing.os.fsync", fsync)
    with pytest.raises(UserError, match="no space left on device") as caught:
        write(items=[item("y"), item("z")], force=True)
    assert "\n" not in str(caught.value)
    assert open_set("toy").ids == ["a", "b"]
    assert left_over(home) == ["toy"]


def test_changed_missing_and_extra_files_are_named(home):
    stored = write()
    (stored.folder / "images/a.png").write_bytes(b"other")
    (stored.folder / "points/b.txt").unlink()
    (stored.folder / "images/new.png").touch()
    assert verify_set(stored) == [
        Damage("images/a.png", "changed"),
        Damage("images/new.png", "extra"),
        Damage("points/b.txt", "missing"),
    ]


def test_damaged_files_are_never_read_as_if_whole(home):
    stored = write()
    (stored.folder / "images/a.png").write_bytes(item("other").picture)
    (stored.folder / "points/a.txt").write_text("1.5 1.5\n")
    (stored.folder / "points/b.txt").unlink()
    for read in (stored.pixels, stored.sample):
        with pytest.raises(UserError, match=r"has changed.*cellbench data verify toy"):
            read("a")
    with pytest.raises(UserError, match=r"b\.txt cannot be read"):
        stored.sample("b")


def test_an_unknown_image_is_named(home):
    with pytest.raises(UserError, match="toy has no image 'x'; it has 2, the first is a"):
        write().sample("x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "\x00"])
def test_a_damaged_manifest_is_one_sentence(home, text):
    stored = write()
    (stored.folder / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"is damaged.*--force"):
        open_set("toy")


@pytest.mark.parametrize("key", ["id", "suffix"])
def test_a_manifest_that_names_files_elsewhere_is_refused(home, key):
    stored = write()
    path = stored.folder / "manifest.json"
    document = json.loads(path.read_text())
    document["images"][0][key] = "/../../../etc/passwd"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="is no name of an image"):
        read_manifest(path)


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from test_set_store import item, write
def items():
    for index in range(8):
        yield item(f"n{{index}}")
def progress(done, total):
    if done == {at}:
        print("there", flush=True)
        time.sleep(60)
write(items=items(), progress=progress, force=True)
"""


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("at", [1, 8])
def test_kill_9_leaves_no_set_or_a_whole_one(home, at, old, request):
    if old:
        write()
    script = KILLED.format(folder=str(request.path.parent), at=at)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    assert is_on_disk("toy") == old
    assert sets_on_disk() == (["toy"] if old else [])
    stored = write(items=[item("z")], force=True)
    assert verify_set(stored) == []
    assert left_over(home) == ["toy"]


def test_an_old_set_whose_successor_never_came_is_put_back(home):
    stored = write()
    shutil.move(stored.folder, stored.folder.with_name(".toy.0a1b2c3d.old"))
    with pytest.raises(UserError, match="on disk already"):
        write(items=[item("z")])
    assert open_set("toy").ids == ["a", "b"]


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from test_set_store import item, write
write(items=[item(f"n{{i}}") for i in range(20)], force=True)
"""


def test_two_writers_at_once_leave_one_whole_set(home, request):
    script = WRITER.format(folder=str(request.path.parent))
    writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    deadline = time.monotonic() + 60
    assert [writer.wait(deadline - time.monotonic()) for writer in writers] == [0, 0, 0]
    assert verify_set(open_set("toy")) == []
    assert left_over(home) == ["toy"]
