"""Claims about opening what anybody may have made."""

import os
import socket
import sys
from dataclasses import dataclass

import pytest

from cellbench.files.limits import POINTS
from cellbench.files.reading import check_file, open_file, parse_json, read_fields, read_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="kinds of files of POSIX")


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_is_no_regular_file_is_never_opened(tmp_path, monkeypatch, kind):
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.chdir(tmp_path)  # the address of a socket is short
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("a.png")
    for read in (check_file, open_file, read_file):
        with pytest.raises(OSError, match=f"it is a {kind} and no file"):
            read(path, most=10)


def test_size_is_looked_at_first(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(2 * 10**12)
    with pytest.raises(OSError, match="it has 2 TB and at most 10 bytes are read"):
        read_file(path, most=10)
    path.write_bytes(b"x" * 10)
    assert read_file(path, most=10) == b"x" * 10


@posix
def test_a_file_of_the_system_that_states_no_size_is_limited_too():
    with pytest.raises(OSError, match="at most 1 bytes"):
        read_file("/proc/self/status", most=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000, "nested"),
        (b"[" * 41 + b"]" * 41, "nested"),
        (b"[1e400]", "not finite"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b'{"a": ' + b"1" * 400 + b"}", "64 bits"),
        (b"1" * 5000, "digits"),
        (b'["\\ud800"]', "Unicode"),
        (b'{"\\udfff": 1}', "Unicode"),
        (b'"\xff"', "utf-8"),
        (b"[1", "delimiter"),
    ],
)
def test_json_that_would_fail_later_fails_when_it_is_read(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)


def test_other_json_is_what_the_standard_library_gives():
    text = b'{"a": [1, 2.5, "\xc3\xa9\\ud83d\\ude00", null, true, {}], "b": -9223372036854775808}'
    assert parse_json(text) == {"a": [1, 2.5, "é😀", None, True, {}], "b": -(2**63)}


@dataclass
class Note:
    name: str
    size: float | None = None


@pytest.mark.parametrize(
    "text", ['{"name": 1}', '{"name": "a", "size": "1"}', "{}", "[]", '{"name": "a", "more": 1}']
)
def test_fields_have_their_types(tmp_path, text):
    path = tmp_path / "note.json"
    path.write_text('{"name": "a", "size": 2}')
    assert read_fields(path, Note) == Note("a", 2)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"field|argument|object"):
        read_fields(path, Note)


def test_a_limit_that_is_no_number_is_one_sentence(monkeypatch):
    from cellbench.errors import UserError

    monkeypatch.setenv("CELLBENCH_MAX_POINTS_MB", "12")
    assert POINTS.size == 12_000_000
    for text in ("-1", "0", "1e9", "١", "x"):
        monkeypatch.setenv("CELLBENCH_MAX_POINTS_MB", text)
        with pytest.raises(UserError, match="CELLBENCH_MAX_POINTS_MB"):
            _ = POINTS.size
