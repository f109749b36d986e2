"""Claims about records, points and caches that somebody edited, copied or made up."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing

import numpy as np
import pytest
from record_samples import sample_images, sample_points, sample_record

from cellbench.errors import UserError
from cellbench.hashes import content_hash, run_id
from cellbench.ranking.row_cache import ranked_rows
from cellbench.records import result_cache
from cellbench.records.point_lists import pack_points, read_points
from cellbench.records.record_file import read_record, records_folder, write_record
from cellbench.records.store import load_records

pytestmark = pytest.mark.usefixtures("home")

LOSSES = [{"step": 50, "loss": 0.25}, {"step": 90, "loss": 0.125}]


def rewrite(path, change, *, content=True):
    record = json.loads(path.read_text())
    change(record)
    if content:
        record["content_hash"] = content_hash(record)
    path.write_text(json.dumps(record))


def test_an_edited_record_is_shown_as_edited_and_takes_no_rank(tmp_path):
    write_record(tmp_path, sample_record(split=0))
    path = write_record(tmp_path, sample_record(method="other"))
    before = path.stat()
    text = path.read_text()
    mae = text.index('"mae": ') + len('"mae": ')
    path.write_text(text[:mae] + str((int(text[mae]) + 1) % 10) + text[mae + 1 :])
    rows, problems = ranked_rows(tmp_path)
    assert [(r.method, r.rank) for r in rows] == [("dla", 1), ("other", None)]
    assert "edited after it was written" in rows[1].note
    assert len(problems) == 1
    assert f"{path} was edited" in problems[0]
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ranked_rows(tmp_path)[1] == []


def test_an_edit_with_the_same_size_and_time_is_seen(tmp_path):
    path = write_record(tmp_path, sample_record())
    assert load_records(tmp_path).problems == []
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 1'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "edited" in load_records(tmp_path).problems[0]


def test_a_copied_record_is_no_second_seed(tmp_path):
    path = write_record(tmp_path, sample_record(curve=LOSSES))
    copy = path.with_name(path.name.replace("-r0-", "-r1-"))
    shutil.copy(path, path.with_name("a copy.json"))
    shutil.copy(path, copy)
    rows, problems = ranked_rows(tmp_path)
    assert [(r.runs, r.seeds) for r in rows if r.rank] == [(1, (0,))]
    assert sum("is a copy of" in problem for problem in problems) == 2

    def pretend(record):
        record["seed"] = 1

    rewrite(copy, pretend, content=False)
    assert any("content hash" in p for p in load_records(tmp_path).problems)
    rewrite(copy, pretend)
    assert any("run id does not follow" in p for p in load_records(tmp_path).problems)


def test_a_forged_second_seed_is_known_by_its_losses(tmp_path):
    images = sample_images()
    write_record(tmp_path, sample_record(curve=LOSSES, images=images))
    write_record(tmp_path, sample_record(curve=LOSSES, images=images, seed=1))
    loaded = load_records(tmp_path)
    assert [run.seed for run in loaded.runs] == [0]
    assert "to the last digit" in loaded.problems[0]


def test_methods_without_losses_may_repeat_themselves(tmp_path):
    images = sample_images()
    for seed in (0, 1):
        write_record(tmp_path, sample_record(curve=[], images=images, seed=seed))
    assert len(load_records(tmp_path).runs) == 2


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r["metrics"].update(game2=10**400), "64 bits"),
        (lambda r: r["images"][0].update(truth=10**400), "64 bits"),
        (lambda r: r["images"][0].update(truth=-1), "images.0.truth"),
        (lambda r: r["images"][0].update(prediction=True), "images.0.prediction"),
        (lambda r: r["images"][0].update(tp=1.5), "images.0.tp"),
        (lambda r: r["images"].append(r["images"][0]), "an image twice"),
        (lambda r: r["images"].append(7), "images.6"),
        (lambda r: r["weights"].pop("sha256"), "weights lacks 'sha256'"),
        (lambda r: r["metrics"].update(f1_by_radius=[{"f1": 2}]), "f1_by_radius"),
        (lambda r: r["curve"].append({"loss": "low"}), "curve.2.loss"),
        (lambda r: r.update(points={"file": "../a.npz", "sha256": "0"}), "points.file"),
        (lambda r: r.update(seed=-1), "seed"),
        (lambda r: r.update(method=""), "method"),
        (lambda r: r["thresholds"].update(score=[]), "thresholds.score"),
        (lambda r: r["timing"].update(train_s=-1), "timing.train_s"),
        (lambda r: r["plugins"].append({"name": 5}), "plugins.1.name"),
    ],
)
def test_a_value_that_no_record_holds_names_its_place(tmp_path, change, place):
    good = write_record(tmp_path, sample_record(split=1))
    path = write_record(tmp_path, sample_record())
    rewrite(path, change)
    with pytest.raises(UserError, match=r"The record .* is damaged|is no JSON") as caught:
        read_record(path)
    assert place in str(caught.value)
    loaded = load_records(tmp_path)
    assert [run.file for run in loaded.runs] == [good.name]
    assert len(loaded.problems) == 1


def test_a_link_that_leads_nowhere_hides_no_other_record(tmp_path):
    path = write_record(tmp_path, sample_record())
    path.with_name("a.json").symlink_to("nowhere")
    path.with_name("b.json").mkdir()
    loaded = load_records(tmp_path)
    assert len(loaded.runs) == 1
    assert len(loaded.problems) == 2


@pytest.mark.parametrize("text", [b"5", b"SQLite format 3\0" + bytes(100), b"\xff", b""])
def test_a_damaged_cache_is_made_anew(tmp_path, text):
    write_record(tmp_path, sample_record())
    first = ranked_rows(tmp_path)
    cache = result_cache.cache_path()
    whole = cache.read_bytes()
    for changed in (text, whole.replace(b'"dla"', b'"dlb"'), whole[: len(whole) // 2]):
        cache.write_bytes(changed)
        assert ranked_rows(tmp_path) == first
        assert ranked_rows(tmp_path) == first
    assert len(result_cache.read_results("rows", records_folder(tmp_path) / "adi")) == 1


def test_a_cache_with_anything_but_its_table_is_deleted_unread(tmp_path):
    result_cache.write_results("runs", tmp_path, {"a": ("1", b"x")})
    for statement in (
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END",
        "CREATE INDEX i ON results (stamp)",
        "ALTER TABLE results ADD COLUMN more",
    ):
        assert result_cache.read_results("runs", tmp_path) == {"a": ("1", b"x")}
        with closing(sqlite3.connect(result_cache.cache_path())) as database:
            database.execute(statement)
        assert result_cache.read_results("runs", tmp_path) == {}
        assert not result_cache.cache_path().exists()
        result_cache.write_results("runs", tmp_path, {"a": ("1", b"x")})
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c"
    result_cache.cache_path().unlink()
    with closing(sqlite3.connect(result_cache.cache_path())) as database:
        database.execute(f"CREATE VIEW results AS {endless}")
    assert result_cache.read_results("runs", tmp_path) == {}


def test_an_entry_is_of_its_key_alone_and_unchanged(tmp_path):
    entries = {"a": ("1", b"one"), "b\udcff": ("2", bytes(range(256)))}
    result_cache.write_results("runs", tmp_path, entries)
    assert result_cache.read_results("runs", tmp_path) == entries
    assert result_cache.read_results("rows", tmp_path) == {}
    with closing(sqlite3.connect(result_cache.cache_path())) as database, database:
        database.execute("UPDATE results SET stamp = '2' WHERE stamp = '1'")
    assert result_cache.read_results("runs", tmp_path) == {"b\udcff": entries["b\udcff"]}
    result_cache.write_results("runs", tmp_path, {"c": ("3", b"")}, keep=["b\udcff"])
    assert set(result_cache.read_results("runs", tmp_path)) == {"b\udcff", "c"}


def test_a_locked_or_too_large_cache_costs_time_alone(tmp_path, monkeypatch):
    result_cache.write_results("runs", tmp_path, {"a": ("1", b"one")})
    with closing(sqlite3.connect(result_cache.cache_path())) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert result_cache.read_results("runs", tmp_path) == {}
        result_cache.write_results("runs", tmp_path, {"a": ("1", b"two")})
    assert result_cache.read_results("runs", tmp_path) == {"a": ("1", b"one")}
    monkeypatch.setattr(result_cache, "MAX_BYTES", 100)
    assert result_cache.read_results("runs", tmp_path) == {}
    assert not result_cache.cache_path().exists()


def sidecar(tmp_path, data):
    """A record that vouches for any bytes as its points."""
    reference = {"file": "r.points.npz", "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "r.points.npz").write_bytes(data)
    return tmp_path / "r.json", {"points": reference}


def npz(**arrays):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = array
            if not isinstance(array, bytes):
                member = io.BytesIO()
                np.lib.format.write_array(member, array, version=(1, 0))
                content = member.getvalue()
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


GOOD = {
    "image_ids": np.array(["a", "b"]),
    "starts": np.array([0, 1, 2]),
    "points": np.zeros((2, 2), np.float32),
    "scores": np.zeros(2, np.float32),
}


def header(text):
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + (text.ljust(117) + "\n").encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"points": header("{'descr': '<f8', ")},
        {"points": header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12, 2), }")},
        {"points": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }")},
        {"points": header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }")},
        {"points": b""},
        {"points": np.zeros((2, 3), np.float32)},
        {"points": np.full((2, 2), np.nan, np.float32)},
        {"scores": np.zeros(3, np.float32)},
        {"scores": np.zeros(2, np.int64)},
        {"starts": np.array([0, 2, 1])},
        {"starts": np.array([0, 1])},
        {"starts": np.array([0, 1, 10**12])},
        {"image_ids": np.array(["a", "a"])},
        {"image_ids": np.array([1, 2])},
        {"more": np.zeros(1)},
    ],
)
def test_points_that_contradict_themselves_are_one_sentence(tmp_path, changed):
    assert len(read_points(*sidecar(tmp_path, npz(**GOOD)))) == 2
    with pytest.raises(UserError, match="are no points file"):
        read_points(*sidecar(tmp_path, npz(**{**GOOD, **changed})))


def test_points_that_unpack_to_more_than_the_limit_are_refused(tmp_path, monkeypatch):
    many = {
        **GOOD,
        "points": np.zeros((200_000, 2), np.float32),
        "scores": np.zeros(200_000, np.float32),
        "starts": np.array([0, 1, 200_000]),
    }
    data = npz(**many)
    assert len(data) < 100_000
    assert len(read_points(*sidecar(tmp_path, data))) == 2
    monkeypatch.setenv("CELLBENCH_MAX_SIDECAR_MB", "1")
    with pytest.raises(UserError, match="unpacks to more than 1 MB"):
        read_points(*sidecar(tmp_path, data))


def test_cut_points_are_refused_at_every_byte(tmp_path):
    data = pack_points(sample_points(sample_images(2)))
    for size in range(0, len(data), 41):
        with pytest.raises(UserError, match="are no points file"):
            read_points(*sidecar(tmp_path, data[:size]))


def test_run_ids_of_samples_follow_from_them():
    record = sample_record(seed=3)
    assert record["run_id"] == run_id(record["config"], 1, "m" * 64, "e" * 64, "v1", 0, 3, 100)
