"""Every committed record keeps its identity: config hash, run id, file name and run folder.

The hashes are computed here from the JSON of the record alone, so that a change of the config
schema, of a default or of a rule for names shows. `CELLBENCH_CHECK_RECORDS` names a folder with
more records to check (its sub-folders are read too).
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from cellbench import hashes
from cellbench.config.compose import resolve
from cellbench.experiment import Experiment
from cellbench.records import record_file
from cellbench.records.trained_runs import recorded_config

COMMITTED = Path(__file__).parents[2] / "leaderboards" / "records"
MORE = os.environ.get("CELLBENCH_CHECK_RECORDS")
FILES = sorted(COMMITTED.glob("*/*.json"))
MORE_FILES = sorted(Path(MORE).rglob("*-s[0-9]*-r[0-9]*-*.json")) if MORE else []

# Methods that are not trained by steps, with the name of their config.
BASELINES = {
    "MeanCount": "methods/meancount",
    "BlobLoG": "methods/bloblog",
    "Watershed": "methods/watershed",
}


def sha256(value, **options):
    text = json.dumps(value, sort_keys=True, **options)
    return hashlib.sha256(text.encode()).hexdigest()


def file_label(path):
    return f"{path.parent.name}/{path.stem}"


def test_there_are_committed_records():
    assert len(FILES) >= 93
    assert bool(MORE_FILES) == bool(MORE), f"{MORE} holds no record"


@pytest.mark.parametrize("path", [*FILES, *MORE_FILES], ids=file_label)
def test_a_record_keeps_its_config_hash_run_id_name_and_folder(path):
    record = json.loads(path.read_bytes())
    plain = record["config"]
    digest = sha256(plain, separators=(",", ":"))
    assert digest == record["config_hash"]
    config = recorded_config(record)
    assert config.plain() == plain, "the schema of today writes this config otherwise"
    assert config.hash == digest

    facts = {
        "recipe": record["recipe"],
        "manifest": record["manifest_hash"],
        "weights": record["weights"]["sha256"],
        "protocol": record["protocol"],
        "split": record["split"],
        "seed": record["seed"],
        "iterations": record["iterations"],
    }
    run_id = sha256({"config": plain, **facts}, separators=(",", ":"), ensure_ascii=False)
    assert run_id == record["run_id"]
    computed = hashes.run_id(
        config=config.plain(),
        recipe=config.recipe,
        manifest_hash=record["manifest_hash"],
        weights_hash=record["weights"]["sha256"],
        protocol=record["protocol"],
        split=record["split"],
        seed=record["seed"],
        iterations=record["iterations"],
    )
    assert computed == run_id
    known = f"-{record['protocol']}-s{record['split']}-r{record['seed']}-{run_id[:16]}"
    assert path.stem.endswith(known)

    del facts["recipe"], facts["iterations"]
    key = sha256({"config": digest, **facts})[:10]
    slug = "".join(c if c.isalnum() else "-" for c in record["method"].lower())[:40]
    name = f"{slug}-{record['protocol']}-s{record['split']}-r{record['seed']}-{key}"
    store = Path("store")
    experiment = Experiment.of_record(record, config)
    assert experiment.id == run_id
    assert experiment.folder(store) == store / "runs" / record["dataset"] / name


@pytest.mark.parametrize("path", FILES, ids=file_label)
def test_a_committed_record_is_intact(path):
    assert hashes.is_intact(record_file.read_record(path))


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("dataset", ["adi", "mbm", "vgg"])
def test_a_baselines_config_of_today_is_that_of_its_record(method, dataset):
    config = resolve(BASELINES[method], dataset=dataset)
    paths = list((COMMITTED / dataset).glob(f"{method}-*.json"))
    assert paths
    for path in paths:
        record = record_file.read_record(path)
        assert config.hash == record["config_hash"]
        assert record["epochs"] == config.data.epochs
