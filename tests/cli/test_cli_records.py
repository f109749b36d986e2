"""`cellbench records`, as a user calls it."""

from record_samples import sample_images, sample_record

from cellbench.records.record_file import write_record


def test_records_are_taken_in_and_a_clash_is_exit_code_1(home, tmp_path, command):
    theirs, store = tmp_path / "theirs", tmp_path / "store"
    write_record(theirs, sample_record())
    first = command("records", "add", str(theirs), "--store", str(store))
    assert (first.returncode, first.stdout) == (0, "1 records: 1 added\n")
    write_record(tmp_path / "others", sample_record(images=sample_images(seed=5)))
    second = command("records", "add", str(tmp_path / "others"), "--store", str(store))
    assert second.returncode == 1
    assert "another result of the same run is there" in second.stdout
    nowhere = command("records", "add", str(tmp_path / "absent"))
    assert nowhere.returncode == 2
    assert nowhere.stderr.count("\n") == 1
