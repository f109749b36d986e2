"""Claims about reading many records."""

import json
import time

import numpy as np
import pytest
from record_samples import sample_record

from cellbench import paths
from cellbench.records import summaries
from cellbench.records.record_file import read_record, write_record
from cellbench.records.summaries import Run, datasets_with_records, load_records

pytestmark = pytest.mark.usefixtures("home")


def same(a: list[Run], b: list[Run]) -> bool:
    return a == b and all(
        np.array_equal(x.truth, y.truth) and np.array_equal(x.prediction, y.prediction)
        for x, y in zip(a, b, strict=True)
    )


def fill(store):
    for split in range(3):
        write_record(store, sample_record(split=split))
    write_record(store, sample_record(dataset="vgg-sim", gflops=None))


def test_a_run_says_what_its_record_says(tmp_path):
    path = write_record(tmp_path, sample_record(method="a[b=1]", split=2, seed=3))
    record, run = read_record(path), load_records(tmp_path).runs[0]
    for key in ("run_id", "method", "config_hash", "dataset", "split", "seed", "parameters"):
        assert getattr(run, key) == record[key]
    assert run.file == path.name
    assert run.metrics["mae"] == record["metrics"]["mae"]
    assert "f1_by_radius" not in run.metrics
    assert run.image_ids == tuple(row["id"] for row in record["images"])
    assert np.abs(run.prediction - run.truth).mean() == pytest.approx(record["metrics"]["mae"])


def test_the_second_reading_is_from_the_cache_and_says_the_same(tmp_path, monkeypatch):
    fill(tmp_path)
    first = load_records(tmp_path)
    assert [run.dataset for run in first.runs] == ["adi"] * 3 + ["vgg-sim"]
    monkeypatch.setattr(summaries, "parse_record", lambda path: pytest.fail(f"read {path} again"))
    second = load_records(tmp_path)
    assert same(first.runs, second.runs)
    assert load_records(tmp_path, "adi").runs == first.runs[:3]


def test_records_that_come_and_go_are_noticed(tmp_path):
    fill(tmp_path)
    before = load_records(tmp_path, "adi").runs
    added = write_record(tmp_path, sample_record(split=4))
    assert [r.split for r in load_records(tmp_path, "adi").runs if r not in before] == [4]
    added.unlink()
    assert same(load_records(tmp_path, "adi").runs, before)


def test_the_cache_can_be_deleted_damaged_or_unwritable(tmp_path):
    fill(tmp_path)
    first = load_records(tmp_path).runs
    caches = sorted((paths.home() / "cache").glob("records-*.json"))
    assert len(caches) == 2
    whole = json.loads(caches[0].read_text())
    shorter = dict(whole, image_ids=[])
    strange = dict(whole, runs=[[1, 2], None])
    older = dict(whole, format=0)
    for content in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        *(json.dumps(d).encode() for d in (shorter, strange, older)),
    ):
        for cache in caches:
            cache.write_bytes(content)
        assert same(load_records(tmp_path).runs, first)
    for cache in caches:
        cache.unlink()
        cache.mkdir()  # neither readable as a file nor replaceable by one
        (cache / "x").touch()
    assert same(load_records(tmp_path).runs, first)


@pytest.mark.parametrize("warm", [False, True])
def test_a_bad_file_is_named_and_takes_nothing_else_with_it(tmp_path, warm):
    fill(tmp_path)
    if warm:
        load_records(tmp_path)
    folder = tmp_path / "leaderboards/records/adi"
    good = sorted(folder.glob("*.json"))[0].read_text()
    (folder / "cut.json").write_text(good[:100])
    (folder / "nan.json").write_text(good.replace('"prediction": ', '"prediction": "x', 1))
    (folder / "list.json").write_text("[]")
    (folder / "elsewhere.json").write_text(good.replace('"dataset": "adi"', '"dataset": "mbm"'))
    (folder / "fake.json").write_text(good.replace('"simulated": false', '"simulated": true'))
    (folder / "notes.txt").write_text("mine")
    (folder / ".half.json.partial").write_text("x")
    for _ in range(2):
        loaded = load_records(tmp_path)
        assert [run.dataset for run in loaded.runs] == ["adi"] * 3 + ["vgg-sim"]
        assert len(loaded.problems) == 5
        for name in ("cut", "nan", "list", "elsewhere", "fake"):
            assert sum(f"{name}.json" in problem for problem in loaded.problems) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"images": [{"id": "a", "truth": 1}]},
        {"images": [{"id": "a", "truth": None, "prediction": 1}]},
        {"images": [3]},
        {"weights": {}},
        {"metrics": {"mae": "1"}},
        {"timing": {"train_s": []}},
    ],
)
def test_damage_inside_a_record_is_one_sentence(tmp_path, change):
    path = write_record(tmp_path, sample_record())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    loaded = load_records(tmp_path)
    assert loaded.runs == []
    assert str(path) in loaded.problems[0]
    assert "damaged" in loaded.problems[0]


def test_nothing_there_is_empty(tmp_path):
    assert load_records(tmp_path / "none").runs == []
    assert datasets_with_records(tmp_path) == []
    assert load_records(tmp_path, "adi").problems == []


def test_ten_thousand_records_are_read_from_the_cache_in_no_time(tmp_path, monkeypatch):
    path = write_record(tmp_path, sample_record())
    one = load_records(tmp_path, "adi").runs[0]
    rng = np.random.default_rng(0)
    ids = tuple(f"GTEX-XXXX-{i}" for i in range(100))
    many = {}
    for index in range(10_000):
        values = {f.name: getattr(one, f.name) for f in summaries.fields(Run)}
        values |= {"file": f"{index}.json", "image_ids": ids}
        values |= {"truth": rng.random(100), "prediction": rng.random(100)}
        many[f"{index}.json"] = ((index, 5, 7), Run(**values))
    cache = summaries.cache_file(path.parent)
    summaries._write_cache(cache, many)
    start = time.process_time()
    found = summaries._read_cache(cache)
    assert time.process_time() - start < 3  # measured: 0.3
    assert found == many
