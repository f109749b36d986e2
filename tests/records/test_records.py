"""Claims about records: whole or not there, never changed, the same bytes for the same result."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from record_samples import sample_images, sample_points, sample_record

from cellbench.errors import UserError
from cellbench.records.point_lists import pack_points, read_points
from cellbench.records.record_file import (
    FIELDS,
    canonical,
    config_hash,
    content_hash,
    find_record,
    is_intact,
    read_record,
    run_id,
    same_result,
    write_record,
)

IDENTITY = {
    "config": {"a": 1, "b": [1.5, None]},
    "recipe": 1,
    "manifest_hash": "m",
    "weights_hash": None,
    "protocol": "v1",
    "split": 0,
    "seed": 0,
    "iterations": 10,
}


def test_what_is_written_is_read(tmp_path):
    images = sample_images()
    record = sample_record(images=images)
    path = write_record(tmp_path, record, sample_points(images))
    found = read_record(path)
    assert list(found) == list(FIELDS)
    assert found["schema"] == 1
    assert {k: found[k] for k in record} == record
    assert path.parent == tmp_path / "leaderboards/records/adi"
    assert path.name == f"dla-v1-s0-r0-{record['run_id'][:16]}.json"


def test_points_come_back_as_they_were_and_their_hash_is_recorded(tmp_path):
    images = sample_images()
    images[1][0] = type(images[1][0])(0.0, np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    path = write_record(tmp_path, sample_record(images=images), sample_points(images))
    record = read_record(path)
    sidecar = path.with_name(record["points"]["file"])
    assert hashlib.sha256(sidecar.read_bytes()).hexdigest() == record["points"]["sha256"]
    found = read_points(path, record)
    assert list(found) == [sample.image_id for sample in images[0]]
    for sample, prediction in zip(*images, strict=True):
        points, scores = found[sample.image_id]
        np.testing.assert_array_equal(points, prediction.points)
        np.testing.assert_array_equal(scores, prediction.scores)


def test_points_without_scores_and_methods_without_points(tmp_path):
    one = {"a": (np.ones((2, 2), np.float32), None)}
    path = write_record(tmp_path, sample_record(), one)
    assert read_points(path, read_record(path))["a"][1] is None
    bare = write_record(tmp_path, sample_record(split=1))
    assert read_record(bare)["points"] is None
    assert read_points(bare, read_record(bare)) == {}


def test_the_same_points_give_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    images = sample_images()
    first = pack_points(sample_points(images))
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert pack_points(sample_points(images)) == first
    with np.load(__import__("io").BytesIO(first), allow_pickle=False) as archive:
        assert set(archive) == {"image_ids", "starts", "points", "scores"}


def test_changed_points_are_noticed(tmp_path):
    images = sample_images()
    path = write_record(tmp_path, sample_record(images=images), sample_points(images))
    record = read_record(path)
    sidecar = path.with_name(record["points"]["file"])
    sidecar.write_bytes(sidecar.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not those that were recorded"):
        read_points(path, record)
    sidecar.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_points(path, record)


def test_a_points_reference_never_leaves_the_folder_of_its_record(tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    record = {"points": {"file": "../secret", "sha256": hashlib.sha256(b"x").hexdigest()}}
    with pytest.raises(UserError, match="cannot be read"):
        read_points(tmp_path / "set" / "a.json", record)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"a": 2, "b": [1.5, None]}},
        {"recipe": 2},
        {"manifest_hash": "n"},
        {"weights_hash": "w"},
        {"protocol": "smoke"},
        {"split": 1},
        {"seed": 1},
        {"iterations": 11},
    ],
)
def test_everything_that_decides_a_result_changes_the_run_id(change):
    assert run_id(**IDENTITY) != run_id(**IDENTITY | change)


def test_the_run_id_does_not_depend_on_the_order_of_keys_and_never_changes():
    turned = {"b": [1.5, None], "a": 1}
    assert run_id(**IDENTITY | {"config": turned}) == run_id(**IDENTITY)
    text = (
        '{"config":{"a":1,"b":[1.5,null]},"iterations":10,"manifest":"m","protocol":"v1",'
        '"recipe":1,"seed":0,"split":0,"weights":null}'
    )
    assert run_id(**IDENTITY) == hashlib.sha256(text.encode()).hexdigest()


def test_the_config_hash_is_the_configs_own():
    from cellbench.config.compose import resolve

    config = resolve("dla_adi.py")
    assert config_hash(config.plain()) == config.hash


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {"b": float("nan")}}, "a.b"),
        ({"a": [1.0, float("inf")]}, "a.1"),
        ({"a": np.float32(1)}, "a is of type float32"),
        ({"a": Path("x")}, "a is of type"),
        ({"a": {1: 2}}, "a has the key 1"),
    ],
)
def test_what_json_cannot_say_is_named_by_its_key(value, where):
    with pytest.raises(UserError, match=where):
        canonical(value)


def test_writing_the_same_again_changes_nothing(tmp_path):
    images = sample_images()
    record, points = sample_record(images=images), sample_points(images)
    path = write_record(tmp_path, record, points)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()}
    again = dict(record, timing={"train_s": 1.0}, environment={"device": "cuda"})
    assert write_record(tmp_path, again, points) == path
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()} == before


def test_another_result_of_the_same_run_is_refused_and_the_first_stays(tmp_path):
    record = sample_record()
    path = write_record(tmp_path, record)
    before = path.read_bytes()
    other = dict(record, metrics=dict(record["metrics"], mae=0.0), thresholds={"score": 0.9})
    with pytest.raises(UserError, match=r"different: metrics, thresholds.*never overwritten"):
        write_record(tmp_path, other)
    assert path.read_bytes() == before


def test_records_are_compared_but_for_timing_and_environment(tmp_path):
    a = read_record(write_record(tmp_path, sample_record()))
    b = dict(a, timing={}, environment={}, content_hash="x")
    assert same_result(a, b) == []
    assert same_result(a, dict(b, seed=4, curve=[])) == ["curve", "seed"]
    assert same_result(a, {k: v for k, v in b.items() if k != "gflops"}) == ["gflops"]


def test_tampering_shows(tmp_path):
    path = write_record(tmp_path, sample_record())
    record = read_record(path)
    assert is_intact(record)
    assert record["content_hash"] == content_hash(record)
    for key in ("metrics", "timing", "images"):
        changed = json.loads(json.dumps(record))
        changed[key] = type(changed[key])()
        assert not is_intact(changed)


def test_a_record_is_one_line_a_key_and_an_image(tmp_path):
    path = write_record(tmp_path, sample_record())
    lines = path.read_text().splitlines()
    assert sum('"truth"' in line for line in lines) == 6
    assert [line for line in lines if line.startswith('"seed"')] == ['"seed": 0,']


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut off"),
        (b'{"schema": 1, "run_id"', "cut off"),
        (b"\xff\xfe\x00", "cut off or is no JSON"),
        (b"[1, 2]", "a list where a JSON object"),
        (b"null", "NoneType"),
        (b"[" * 100_000, "cut off or is no JSON"),
        (b'{"schema": NaN}', "NaN is not allowed"),
        (b'{"schema": 99}', "schema 99.*upgrade"),
        (b'{"schema": 1}', "lacks 'run_id'"),
        (b'{"schema": true}', "schema = 'True' where int"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, content, words):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_record_is_noticed(tmp_path):
    path = write_record(tmp_path, sample_record())
    data = path.read_bytes()
    cut = tmp_path / "cut.json"
    for size in range(0, len(data) - 2, 97):
        cut.write_bytes(data[:size])
        with pytest.raises(UserError, match="cut off"):
            read_record(cut)


def test_a_missing_file_and_a_missing_key(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_record(tmp_path / "none.json")
    record = sample_record()
    del record["thresholds"]
    with pytest.raises(UserError, match="lacks thresholds"):
        write_record(tmp_path, record)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "../../etc"},
        {"dataset": "adi/x"},
        {"dataset": ""},
        {"run_id": "../x"},
        {"seed": "0"},
        {"split": True},
        {"metrics": {"mae": float("nan")}},
        {"parameters": np.int64(3)},
    ],
)
def test_a_record_that_is_wrong_is_never_written(tmp_path, change):
    with pytest.raises(UserError):
        write_record(tmp_path, sample_record() | change)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize("method", ["../../x", "a/b\\c", "é" * 300, "\x1b[2J", "-rf", "con\x00"])
def test_a_hostile_method_name_stays_in_its_folder(tmp_path, method):
    path = write_record(tmp_path, sample_record(method=method))
    assert path.parent == tmp_path / "leaderboards/records/adi"
    assert path.name.isascii()
    assert read_record(path)["method"] == method


def test_a_record_is_found_by_its_run_id(tmp_path):
    record = sample_record(method="dla[model.matcher.type=KHM]")
    path = write_record(tmp_path, record)
    write_record(tmp_path, sample_record(dataset="vgg-sim"))
    assert find_record(tmp_path, record["run_id"]) == path
    assert find_record(tmp_path, record["run_id"][:16]) == path
    assert find_record(tmp_path, "0" * 64) is None
    assert find_record(tmp_path, record["run_id"][:16] + "0" * 48) is None
    assert find_record(tmp_path / "nothing", "0" * 64) is None
    with pytest.raises(UserError, match="run id"):
        find_record(tmp_path, "*")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, code):
    images = sample_images()

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=os.strerror(code).lower()) as caught:
        write_record(tmp_path, sample_record(images=images), sample_points(images))
    assert "--store" in str(caught.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_killed_at_any_write_a_record_is_whole_or_not_there(tmp_path):
    """A process dies before its k-th fsync or rename, for every k; then it is started again."""
    program = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from record_samples import sample_images, sample_points, sample_record
        from cellbench.records.record_file import write_record
        images = sample_images()
        record, points = sample_record(images=images), sample_points(images)
        def deadly(function):
            def call(*arguments):
                global left
                left -= 1
                if left < 0:
                    os._exit(9)
                return function(*arguments)
            return call
        os.fsync, Path.replace = deadly(os.fsync), deadly(Path.replace)
        for left in range(5):
            store = Path(sys.argv[1], str(left))
            child = os.fork()
            if not child:
                write_record(store, record, points)
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=env,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["9"] * 4 + ["0"]  # two files, each synced, then renamed
    images = sample_images()
    for deaths in range(5):
        store = tmp_path / str(deaths)
        files = list((store / "leaderboards/records/adi").glob("[!.]*.json"))
        assert len(files) == (deaths == 4)
        path = write_record(store, sample_record(images=images), sample_points(images))
        assert len(read_points(path, read_record(path))) == 6
