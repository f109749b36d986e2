"""Claims about reading many records."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from record_samples import sample_record

from cellbench.ranking.row_cache import ranked_rows
from cellbench.records import result_cache, store, summaries
from cellbench.records.record_file import read_record, records_folder, write_record
from cellbench.records.store import datasets_with_records, load_records
from cellbench.records.summaries import Run

pytestmark = pytest.mark.usefixtures("home")


def same(a: list[Run], b: list[Run]) -> bool:
    return a == b and all(
        np.array_equal(x.truth, y.truth) and np.array_equal(x.prediction, y.prediction)
        for x, y in zip(a, b, strict=True)
    )


def fill(folder):
    for split in range(3):
        write_record(folder, sample_record(split=split))
    write_record(folder, sample_record(dataset="vgg-sim", gflops=None))


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
    monkeypatch.setattr(store, "parse_record", lambda path: pytest.fail(f"read {path} again"))
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


def test_the_cache_can_be_deleted_of_another_version_or_unwritable(tmp_path):
    fill(tmp_path)
    first = load_records(tmp_path).runs
    folder = records_folder(tmp_path) / "adi"
    kept = result_cache.read_results(store._KIND, folder)
    assert len(kept) == 3
    for content in (b"", b"{}\0[]\0", b"[1]\0[]\0", b"{}"):
        entries = {name: (stamp, content) for name, (stamp, _) in kept.items()}
        result_cache.write_results(store._KIND, folder, entries)
        assert same(load_records(tmp_path).runs, first)
    assert result_cache.read_results(store._KIND, folder) == kept
    cache = result_cache.cache_path()
    cache.unlink()
    assert same(load_records(tmp_path).runs, first)
    cache.unlink()
    cache.mkdir()  # neither readable as a file nor replaceable by one
    (cache / "x").touch()
    assert same(load_records(tmp_path).runs, first)


def test_a_record_in_two_stores_counts_once_and_runs_of_both_rank_together(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    path = write_record(first, sample_record())
    other = write_record(second, sample_record(split=1))
    shutil.copy(path, other.parent)
    loaded = load_records(first, others=[second])
    assert loaded.problems == loaded.edited == []
    assert [run.path for run in loaded.runs] == [path, other]
    assert datasets_with_records(first, second, tmp_path / "none") == ["adi"]
    rows, problems = ranked_rows(first, others=[second])
    assert [(row.runs, row.splits) for row in rows] == [(2, (0, 1))]
    assert [row.splits for row in ranked_rows(first)[0]] == [(0,)]
    assert ranked_rows(first, others=[second]) == (rows, problems) == (rows, [])


def test_another_result_of_a_run_in_another_store_is_named(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    record = sample_record()
    path = write_record(first, record)
    other = write_record(second, record | {"images": sample_record(split=7)["images"]})
    loaded = load_records(first, others=[second])
    assert [run.path for run in loaded.runs] == [path]
    assert [run.path for run in loaded.edited] == [other]
    assert f"{other} is another result of the run of {path}" in loaded.problems[0]


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


def test_ten_thousand_records_are_read_from_the_cache_in_no_time(tmp_path):
    write_record(tmp_path, sample_record())
    one = load_records(tmp_path, "adi").runs[0]
    rng = np.random.default_rng(0)
    ids = tuple(f"GTEX-XXXX-{i}" for i in range(100))
    entries, runs = {}, []
    for index in range(10_000):
        values = {"file": f"{index}.json", "image_ids": ids}
        values |= {"truth": rng.random(100), "prediction": rng.random(100)}
        runs.append(replace(one, **values))
        entries[f"{index}.json"] = str(index), summaries.pack_run(runs[-1])
    result_cache.write_results("runs", tmp_path, entries)
    start = time.process_time()
    known: dict = {}
    found = [
        summaries.unpack_run(content, one.folder, known)
        for _, content in result_cache.read_results("runs", tmp_path).values()
    ]
    assert time.process_time() - start < 3  # measured: 0.3
    assert same(found, sorted(runs, key=lambda run: run.file))
    assert len({id(run.image_ids) for run in found}) == 1
