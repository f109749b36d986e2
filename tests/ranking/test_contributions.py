"""Claims about records that come from elsewhere: checked, copied whole, never overwritten."""

import json

import pytest
from record_samples import sample_images, sample_points, sample_record

from cellbench.errors import UserError
from cellbench.hashes import content_hash
from cellbench.ranking.audit import audit_set
from cellbench.ranking.contributions import Outcome, add_records
from cellbench.records.record_file import read_record, records_folder, write_record
from cellbench.records.run_files import RECORD

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def theirs(tmp_path):
    """A folder with two records, one with points."""
    folder = tmp_path / "theirs"
    images = sample_images()
    write_record(folder, sample_record(images=images), points=sample_points(images))
    write_record(folder, sample_record(split=1))
    return folder


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def outcomes(found):
    return [one.outcome for one in found]


def test_sound_records_are_copied_byte_by_byte_with_their_points(theirs, store):
    found = list(add_records(store, theirs))
    assert outcomes(found) == [Outcome.ADDED, Outcome.ADDED]
    before, after = (records_folder(place) / "adi" for place in (theirs, store))
    names = sorted(path.name for path in before.iterdir())
    assert len(names) == 3
    assert [path.name for path in sorted(after.iterdir())] == names
    assert all((after / name).read_bytes() == (before / name).read_bytes() for name in names)
    assert audit_set(store, "adi").findings == []


def test_reports_of_grids_are_no_records(theirs, store):
    report = theirs / "leaderboards/grids/table3/made-from.json"
    report.parent.mkdir(parents=True)
    report.write_text('{"cellbench": "0.1.0"}')
    assert {found.outcome for found in add_records(store, theirs)} == {Outcome.ADDED}


def test_of_a_whole_store_the_copies_beside_the_weights_are_passed_over(theirs, store):
    (record, *_) = sorted((records_folder(theirs) / "adi").glob("*.json"))
    run = theirs / "runs/adi/some-run"
    run.mkdir(parents=True)
    (run / RECORD).write_bytes(record.read_bytes())
    (run / "recommendation.json").write_text("{}")
    assert outcomes(add_records(store, theirs)) == [Outcome.ADDED, Outcome.ADDED]


def test_a_second_time_nothing_is_added(theirs, store):
    list(add_records(store, theirs))
    assert outcomes(add_records(store, theirs)) == [Outcome.PRESENT, Outcome.PRESENT]


def test_checking_alone_copies_nothing(theirs, store):
    assert outcomes(add_records(store, theirs, dry_run=True)) == [Outcome.ADDED, Outcome.ADDED]
    assert not store.exists()


def test_another_result_of_a_run_is_named_and_left_aside(theirs, store):
    own = write_record(store, sample_record(split=1, images=sample_images(seed=7)))
    kept = own.read_bytes()
    found = list(add_records(store, theirs))
    assert sorted(one.outcome.name for one in found) == ["ADDED", "CLASH"]
    (clash,) = (one for one in found if one.outcome is Outcome.CLASH)
    assert clash.target == own
    assert f"MAE {read_record(own)['metrics']['mae']:.2f} there" in clash.reason
    assert own.read_bytes() == kept


@pytest.mark.parametrize("mended", [False, True])
def test_an_edited_record_is_refused_and_the_others_are_taken(theirs, store, mended):
    edited = sorted((records_folder(theirs) / "adi").glob("*.json"))[0]
    record = json.loads(edited.read_text())
    record["metrics"]["mae"] = 0.5
    if mended:  # a careful hand mends the hash
        record["content_hash"] = content_hash(record)
    edited.write_text(json.dumps(record))
    found = {one.file: one for one in add_records(store, theirs)}
    assert found.pop(edited).outcome is Outcome.REFUSED
    assert outcomes(found.values()) == [Outcome.ADDED]


def test_a_record_without_its_points_is_refused(theirs, store):
    next((records_folder(theirs) / "adi").glob("*.npz")).unlink()
    assert sorted(one.outcome.name for one in add_records(store, theirs)) == ["ADDED", "REFUSED"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": 3}'])
def test_a_file_that_is_no_record_is_refused_in_one_sentence(theirs, store, text):
    (theirs / "notes.json").write_text(text)
    found = {one.file.name: one for one in add_records(store, theirs)}
    refused = found["notes.json"]
    assert refused.outcome is Outcome.REFUSED
    assert "notes.json" in refused.reason
    assert "\n" not in refused.reason
    assert len(found) == 3


def test_a_folder_without_records_is_one_sentence(tmp_path, store):
    with pytest.raises(UserError, match="is no folder"):
        list(add_records(store, tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds 0 JSON files"):
        list(add_records(store, tmp_path / "empty"))


def test_a_store_that_cannot_be_written_is_one_sentence(theirs, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="could not be written"):
        list(add_records(tmp_path / "file", theirs))


def test_a_record_cannot_replace_the_points_of_another(theirs, store):
    list(add_records(store, theirs))
    (kept,) = (records_folder(store) / "adi").glob("*.npz")
    before = kept.read_bytes()
    images = sample_images(seed=3)
    hostile = theirs.parent / "hostile"
    file = write_record(
        hostile, sample_record(split=2, images=images), points=sample_points(images)
    )
    record = json.loads(file.read_text())
    file.with_name(record["points"]["file"]).rename(file.with_name(kept.name))
    record["points"]["file"] = kept.name
    record["content_hash"] = content_hash(record)
    file.write_text(json.dumps(record))
    (found,) = add_records(store, hostile)
    assert found.outcome is Outcome.REFUSED
    assert "its points are not called" in found.reason
    assert kept.read_bytes() == before


@pytest.mark.parametrize("start", [".", "dla-"])
def test_a_record_of_another_name_is_refused_for_it_could_hide(theirs, store, start):
    (file, *_) = sorted((records_folder(theirs) / "adi").glob("*s1-*.json"))
    file.rename(file.with_name(start + file.name))
    refused = [one for one in add_records(store, theirs) if one.outcome is Outcome.REFUSED]
    assert [f"its file is not called {file.name}" in one.reason for one in refused] == [True]


def test_a_real_record_that_calls_itself_simulated_is_refused(tmp_path, store):
    write_record(tmp_path / "odd", sample_record(simulated=True))
    (found,) = add_records(store, tmp_path / "odd")
    assert found.outcome is Outcome.REFUSED
    assert "it says that its images are simulated" in found.reason


def test_a_damaged_record_of_the_store_stops_no_other(theirs, store):
    list(add_records(store, theirs))
    files = sorted((records_folder(store) / "adi").glob("*.json"))
    files[0].write_text("{")
    files[1].unlink()
    found = sorted(one.outcome.name for one in add_records(store, theirs))
    assert found == ["ADDED", "REFUSED"]
