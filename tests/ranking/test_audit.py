"""Claims about `leaderboard --check`: what was changed by hand is found and named."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from record_samples import sample_images, sample_points, sample_record

from cellbench.data.splits import Split
from cellbench.hashes import content_hash
from cellbench.metrics.calibration import CountCalibration
from cellbench.metrics.scores import score
from cellbench.ranking import audit
from cellbench.ranking.audit import audit_set
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.tables import write_tables
from cellbench.records.point_lists import pack_points
from cellbench.records.record_file import read_record, write_record
from cellbench.records.store import load_records
from cellbench.structures import CellSample, Prediction

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def file(tmp_path):
    images = sample_images()
    path = write_record(tmp_path, sample_record(images=images), points=sample_points(images))
    write_record(tmp_path, sample_record(split=1))
    return path


def change(path, edit, *, rehash=True):
    """Edit a record as a hand would; a careful one mends the hash."""
    record = json.loads(path.read_text())
    edit(record)
    if rehash:
        record["content_hash"] = content_hash(record)
    path.write_text(json.dumps(record))
    return read_record(path)


def findings(tmp_path):
    found = audit_set(tmp_path, "adi")
    assert found.records == 2
    return found.findings


def test_points_at_the_radius_that_are_kept_beyond_it_still_give_the_recorded_f1(
    tmp_path, monkeypatch
):
    cell = np.array([[50.5, 50.5]])
    angles = np.linspace(0.1, 6.2, 40)
    near = cell + 3.9999 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    beyond = np.linalg.norm(np.rint(near * 32) / 32 - cell, axis=1) > 4
    assert beyond.any()
    found = near[beyond][:1].astype(np.float32)
    truth = [CellSample(f"i{i}", cell.astype(np.float32), (100, 100)) for i in range(2)]
    images = truth, [Prediction(1.0, found, np.ones(1, np.float32))] * 2
    path = write_record(tmp_path, sample_record(images=images), points=sample_points(images))
    assert read_record(path)["metrics"]["f1"] == 1
    samples = {sample.image_id: sample for sample in truth}
    stored = SimpleNamespace(
        name="adi", manifest_hash="m" * 64, sample=samples.get, entry=samples.get
    )
    monkeypatch.setattr(audit, "is_on_disk", lambda name: True)
    monkeypatch.setattr(audit, "open_set", lambda name: stored)
    monkeypatch.setattr(audit, "make_split", lambda *a, **k: SimpleNamespace(test=list(samples)))
    assert audit_set(tmp_path, "adi").findings == []
    moved = {image_id: (found + 0.25 * np.sign(found - cell), None) for image_id in samples}
    data = pack_points({k: (xy.astype(np.float32), None) for k, (xy, _) in moved.items()})
    record = read_record(path)
    path.with_name(record["points"]["file"]).write_bytes(data)
    change(path, lambda r: r["points"].update(sha256=hashlib.sha256(data).hexdigest()))
    (finding,) = audit_set(tmp_path, "adi").findings
    assert "its F1 does not follow from its points" in finding


@pytest.mark.parametrize(
    ("crops", "batch", "epochs", "well"),
    [(4, 16, 20.0, True), (4, 16, 10.0, False), (4, 3, 4.167, True), (4, 0, 20.0, False)],
)
def test_passes_that_do_not_follow_from_the_steps_are_named(
    tmp_path, monkeypatch, crops, batch, epochs, well
):
    """100 steps; a record with more passes than these ranks as a whole training."""
    data = {"set": "adi", "crops_per_image": crops, "batch_size": batch}
    images = sample_images()
    record = sample_record(config={"method": {"name": "dla"}, "data": data}, images=images)
    write_record(tmp_path, record | {"epochs": epochs})
    samples = {sample.image_id: sample for sample in images[0]}
    stored = SimpleNamespace(name="adi", manifest_hash="m" * 64, entry=samples.get)
    parts = Split(train=[str(i) for i in range(18)], val=[], test=list(samples))
    monkeypatch.setattr(audit, "is_on_disk", lambda name: True)
    monkeypatch.setattr(audit, "open_set", lambda name: stored)
    monkeypatch.setattr(audit, "make_split", lambda *a, **k: parts)
    found = audit_set(tmp_path, "adi").findings
    assert [one.endswith("do not follow from its steps.") for one in found] == [True] * (not well)


def test_untouched_records_are_well(file, tmp_path):
    found = audit_set(tmp_path, "adi")
    assert (found.records, found.findings) == (2, [])
    assert "not on disk" in found.remarks[0]
    assert audit_set(tmp_path, "mbm") == audit.Audit(0, [], [])


def test_a_flipped_digit_is_named(file, tmp_path):
    change(file, lambda r: r["images"][0].update(prediction=1.0), rehash=False)
    (finding,) = findings(tmp_path)
    assert str(file) in finding
    assert "changed after it was written" in finding


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r["metrics"].update(mae=0.1), "mae do not follow from its images"),
        (lambda r: r["metrics"].update(rmse=0.1), "rmse do not follow"),
        (lambda r: r["metrics"].update(f1=1.0), "f1 do not follow"),
        (lambda r: r["metrics"].update(game2=None), "game2 do not follow"),
        (lambda r: r["metrics"].pop("bias"), "damaged"),
        (lambda r: r["images"].pop(), "do not follow from its images"),
        (lambda r: r["images"][1].update(tp=0), "img001 do not add up"),
        (lambda r: r["images"][1].update(fp=50), "more or fewer points than it counts for img001"),
        (lambda r: r.update(split=3), "its run id does not follow"),
        (lambda r: r.update(iterations=999), "its run id does not follow"),
        (lambda r: r.update(run_id="f" * 64), "named after another run"),
        (lambda r: r["config"].update(lucky=True), "its config hash is not its config's"),
        (lambda r: r.update(points={"file": "gone.npz", "sha256": "0" * 64}), "cannot be read"),
    ],
)
def test_a_forgery_with_a_mended_hash_is_named(file, tmp_path, edit, words):
    change(file, edit)
    (finding,) = findings(tmp_path)
    assert str(file) in finding
    assert words in finding


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: None, None),
        (lambda r: r["calibration"].update(offset=4.0), "not the raw ones with its correction"),
        (lambda r: r["images"][0].update(raw=7.0), "raw_mae, raw_bias do not follow"),
        (lambda r: r["images"][0].pop("raw"), "lacks counts before their correction"),
        (lambda r: r["metrics"].update(raw_mae=9.0), "raw_mae do not follow"),
    ],
)
def test_counts_follow_from_the_raw_ones_and_their_correction(tmp_path, monkeypatch, edit, words):
    truth, _ = images = sample_images()
    calibration = CountCalibration("line", 1.5, 3.0, 2.0 * truth[0].size[0] * truth[0].size[1])
    raw = [Prediction(10.0 + number) for number in range(len(truth))]
    corrected = [calibration.correct_prediction(p, s.size) for p, s in zip(raw, truth, strict=True)]
    assert corrected[0].count == 16.5
    record = sample_record(images=(truth, corrected), calibration=calibration.plain())
    scores = score(truth, corrected, radius_px=4.0, raw=[found.count for found in raw])
    record |= {"images": scores.images, "metrics": scores.metrics}
    path = write_record(tmp_path, record)
    samples = {sample.image_id: sample for sample in images[0]}
    stored = SimpleNamespace(
        name="adi", manifest_hash="m" * 64, sample=samples.get, entry=samples.get
    )
    monkeypatch.setattr(audit, "is_on_disk", lambda name: True)
    monkeypatch.setattr(audit, "open_set", lambda name: stored)
    monkeypatch.setattr(audit, "make_split", lambda *a, **k: SimpleNamespace(test=list(samples)))
    change(path, edit)
    found = audit_set(tmp_path, "adi").findings
    if words is None:
        assert found == []
    else:
        assert words in found[0]


def test_changed_points_are_named(file, tmp_path):
    sidecar = file.with_suffix("").with_name(file.stem + ".points.npz")
    sidecar.write_bytes(sidecar.read_bytes()[:-1] + b"x")
    (finding,) = findings(tmp_path)
    assert "not those that were recorded" in finding


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1,', "cut off"),
        ('{"schema": 7}', "of schema 7 and this cellbench reads those up to 2; upgrade it"),
        ('{"schema": 0}', "schema is '0'; input should be greater"),
        ("[]", "list"),
    ],
)
def test_a_truncated_or_foreign_record_is_one_sentence_and_loses_nothing_else(
    file, tmp_path, text, words
):
    (file.parent / "odd.json").write_text(text)
    found = audit_set(tmp_path, "adi")
    assert found.records == 3
    (finding,) = found.findings
    assert words in finding
    assert "odd.json" in finding
    loaded = load_records(tmp_path, "adi")
    assert len(loaded.runs) == 2
    assert loaded.problems == [finding]


def test_a_row_without_its_record_is_named(file, tmp_path):
    write_record(tmp_path, sample_record(method="gone"))
    write_tables(tmp_path, "adi", rank_runs(load_records(tmp_path).runs))
    assert audit_set(tmp_path, "adi").findings == []
    next(file.parent.glob("gone-*.json")).unlink()
    (finding,) = findings(tmp_path)
    assert finding.startswith("The row of gone under v1")
    assert "has no record" in finding


def test_a_number_that_was_changed_in_the_table_is_named(file, tmp_path):
    (table,) = [p for p in write(tmp_path) if p.suffix == ".csv"]
    row = rank_runs(load_records(tmp_path).runs)[0]
    table.write_text(table.read_text().replace(f"{row.mae:.6g}", "0.1"))
    (finding,) = findings(tmp_path)
    assert "says other mae than its records" in finding


@pytest.mark.parametrize(
    "column", ["rank", "share", "mae_sd", "rmse", "mape", "r2", "bias", "f1", "game1", "game3"]
)
def test_every_number_of_a_row_is_compared(file, tmp_path, column):
    (table,) = [p for p in write(tmp_path) if p.suffix == ".csv"]
    head, row = (line.split(",") for line in table.read_text().splitlines())
    row[head.index(column)] = "0.5"
    table.write_text(f"{','.join(head)}\n{','.join(row)}\n")
    (finding,) = findings(tmp_path)
    assert f"says other {column} than" in finding


def test_a_whole_schedule_that_no_other_record_states_is_to_be_looked_at(tmp_path):
    def of(name, epochs, **more):
        config = {"method": {"name": name}, "data": {"set": "adi", "epochs": epochs}}
        return write_record(tmp_path, sample_record(config=config, method=name, **more))

    of("a", 104)
    odd = of("a[x=1]", 5, whole_epochs=100_000)
    of("b", 5, whole_epochs=60)
    of("b", 5, whole_epochs=60, split=1)
    of("b[x=1]", 8)  # older records state the requested epochs
    of("c", 5, whole_epochs=60)
    found = audit_set(tmp_path, "adi")
    assert [remark for remark in found.remarks if "schedule" in remark] == [
        f"{odd} states 100000 epochs as the whole schedule of its method, other records of a on "
        "adi 104."
    ]
    assert not any("schedule" in finding for finding in found.findings)


def test_a_table_that_is_merely_older_is_a_remark(file, tmp_path):
    write(tmp_path)
    write_record(tmp_path, sample_record(split=2))
    found = audit_set(tmp_path, "adi")
    assert found.findings == []
    assert any("older than the records" in remark for remark in found.remarks)


def write(tmp_path):
    return write_tables(tmp_path, "adi", rank_runs(load_records(tmp_path).runs))


def test_scores_at_another_radius_than_the_configs_are_named(tmp_path):
    config = {"method": {"name": "dla"}, "recipe": 1, "data": {"set": "adi", "radius_px": 2.0}}
    write_record(tmp_path, sample_record(config=config))
    (found,) = audit_set(tmp_path, "adi").findings
    assert "its match radius is not its config's" in found


def test_a_protocol_that_is_unknown_here_is_named(tmp_path):
    write_record(tmp_path, sample_record(protocol="nope"))
    (found,) = audit_set(tmp_path, "adi").findings
    assert "there is no protocol 'nope' here" in found
