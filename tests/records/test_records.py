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
from cellbench.hashes import config_hash, content_hash, is_intact, run_id
from cellbench.records import model
from cellbench.records.point_lists import STEP_PX, pack_points, points_sha256, read_points
from cellbench.records.record_file import (
    differing_keys,
    find_record,
    parse_record,
    read_record,
    write_record,
)

REPO = Path(__file__).parent.parent.parent

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
    assert found["schema"] == 2
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
        np.testing.assert_allclose(points, prediction.points, rtol=0, atol=STEP_PX / 2)
        np.testing.assert_allclose(scores, prediction.scores, rtol=2**-11)


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
        assert set(archive) == {"image_ids", "starts", "coordinates", "score_bytes"}
        steps = archive["coordinates"].transpose(0, 2, 1).copy().view("<i4")[..., 0].T
    expected = np.concatenate([p.points for p in images[1]])
    np.testing.assert_allclose(steps / 32, expected, rtol=0, atol=1 / 64)


def test_points_that_were_read_are_packed_into_the_same_bytes(tmp_path):
    points = {
        "a": (np.float32([[-3.01, 0.0], [70_000.4, 1.02]]), np.float32([1e9, -0.3])),
        "b": (np.zeros((0, 2), np.float32), None),
        "c": (np.float32([[1.5, 2.25]]), None),
    }
    path = write_record(tmp_path, sample_record(), points)
    record = read_record(path)
    again = read_points(path, record)
    assert again["a"][0].dtype == again["a"][1].dtype == np.float32
    assert again["c"][1] is None
    assert pack_points(again) == pack_points(points)
    assert points_sha256(again) == record["points"]["points_sha256"]
    assert points_sha256({"a": points["a"]}) != record["points"]["points_sha256"]


@pytest.mark.parametrize("x", [np.nan, np.inf, 2.0**26])
def test_a_point_that_a_file_cannot_hold_is_not_written(x):
    with pytest.raises(ValueError, match="not finite or beyond"):
        pack_points({"a": (np.array([[x, 0.0]]), None)})


def test_points_of_version_1_are_read_as_they_were_written():
    path = REPO / "leaderboards/records/adi/DLA-v1-s0-r0-1ac89626caac6e75.json"
    record = read_record(path)
    lists = read_points(path, record)
    with np.load(path.with_name(record["points"]["file"])) as archive:
        np.testing.assert_array_equal(
            np.concatenate([xy for xy, _ in lists.values()]), archive["points"]
        )
        np.testing.assert_array_equal(
            np.concatenate([scores for _, scores in lists.values()]), archive["scores"]
        )
    old = path.with_name(record["points"]["file"]).stat().st_size
    assert len(pack_points(lists)) < old / 2.5


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
        content_hash(value)


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
    assert differing_keys(a, b) == []
    assert differing_keys(a, dict(b, seed=4, curve=[])) == ["curve", "seed"]
    assert differing_keys(a, {k: v for k, v in b.items() if k != "gflops"}) == ["gflops"]


def test_records_of_two_versions_are_compared_by_what_both_hold(tmp_path):
    images = sample_images()
    new = read_record(write_record(tmp_path, sample_record(images=images), sample_points(images)))
    old = {k: v for k, v in new.items() if k != "scored_weights"}
    old |= {"schema": 1, "points": {"file": "x.npz", "sha256": "0" * 64}, "content_hash": ""}
    assert differing_keys(old, new) == []
    assert differing_keys(old, dict(new, whole_epochs=104)) == []
    assert differing_keys(dict(new, whole_epochs=60), dict(new, whole_epochs=104)) == [
        "whole_epochs"
    ]
    part = {"role": "transform", "name": "Grey", "distribution": "x", "version": "1"}
    listed = dict(new, plugins=[*new["plugins"], part])
    assert differing_keys(listed, old) == []
    assert differing_keys(listed, new) == ["plugins"]
    assert differing_keys(dict(old, plugins=[part]), new) == ["plugins"]
    assert differing_keys(dict(old, points=None), new) == ["points"]
    other = dict(new, points=dict(new["points"], points_sha256="1" * 64))
    assert differing_keys(other, new) == ["points"]
    zipped = dict(new, points=dict(new["points"], sha256="1" * 64))
    assert differing_keys(zipped, new) == []


def test_the_schema_that_is_shipped_is_the_models():
    shipped = Path(model.__file__).with_name("record.schema.json").read_text()
    assert json.loads(shipped) == json.loads(model.schema_text())


def test_a_record_without_a_version_is_of_version_1_and_unknown_keys_are_kept(tmp_path):
    raw = read_record(write_record(tmp_path, sample_record()))
    del raw["schema"]
    raw["later"] = {"a": [1]}
    raw["metrics"]["later"] = [1, "a"]
    record = model.Record.parse(raw, "It")
    assert record.schema_version == 1
    assert record.raw is raw
    assert record.model_dump()["later"] == {"a": [1]}


def test_parts_of_prepare_are_added_to_what_version_1_lists():
    lists = {}
    for path in (REPO / "leaderboards/records/mbm").glob("*.json"):
        record = parse_record(path)
        parts = [part.name for part in record.plugins if part.role == "transform"]
        listed = {p["name"] for p in record.raw["plugins"] if p["role"] == "transform"}
        lists[path.name] = set(parts) - listed
        prepared = {part["type"] for part in record.config["data"].get("prepare", [])}
        assert prepared <= set(parts)
        assert len(set(parts)) == len(parts)
    assert set().union(*lists.values()) == {"StainNormalisation"}


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
        (b'{"schema": true}', "schema is 'True'"),
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
    with pytest.raises(UserError, match="lacks 'thresholds'"):
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
