"""Files that are put in place as a whole."""

import os
import sys

import pytest

from cellbench.files.locks import try_lock
from cellbench.files.writing import write_atomically

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write(tmp_path):
    for left in (".a.json.0badcafe.partial", ".a.json.12345678.partial"):
        (tmp_path / left).write_text("half")
    (tmp_path / ".b.json.0badcafe.partial").write_text("of another file")
    write_atomically(tmp_path / "a.json", b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", ".b.json.0badcafe.partial"}
    assert (tmp_path / "a.json").read_bytes() == b"whole"


def test_what_another_process_is_writing_stays(tmp_path):
    other = tmp_path / ".a.json.0badcafe.partial"
    with other.open("wb") as stream:
        assert try_lock(stream.fileno())
        write_atomically(tmp_path / "a.json", b"whole")
        assert other.exists()
    write_atomically(tmp_path / "a.json", b"whole")
    assert not other.exists()


def test_without_locks_only_what_is_old_is_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbench.files.locks._flocked", lambda descriptor, wait: False)
    old, fresh = tmp_path / ".a.1.partial", tmp_path / ".a.2.partial"
    for file in (old, fresh):
        file.write_text("half")
    os.utime(old, (0, 0))
    write_atomically(tmp_path / "a", b"whole")
    assert not old.exists()
    assert fresh.exists()
