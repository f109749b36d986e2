"""Downloads from a real server on loopback, which misbehaves on demand."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellbench.data.contracts import Archive
from cellbench.data.download import download
from cellbench.data.fetch import fetch_set
from cellbench.data.set_damage import verify_set
from cellbench.data.stored_set import is_on_disk
from cellbench.data.web import DownloadRefused, Redirects
from cellbench.errors import UserError
from cellbench.registry import DATASETS

SHARED = os.environ.get("CELLBENCH_SHARED")
BODY = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


@dataclass
class Behaviour:
    """What the server does; `cuts` are the lengths at which its first answers break off."""

    body: bytes = BODY
    etag: str | None = '"one"'
    ranges: bool = True
    conditions: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirect: str | None = None
    hang_s: float = 0
    pause_s: float = 0
    encoding: str | None = None
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0
    paths: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def do_GET(self) -> None:
        self.close_connection = True
        b = self.behaviour
        b.requests.append(self.headers["Range"])
        b.paths.append(self.path)
        time.sleep(b.hang_s)
        status = b.statuses.pop(0) if b.statuses else 302 if b.redirect else 200
        if status != 200:
            self.send_response(status)
            if b.redirect:
                self.send_header("Location", b.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        fresh = not b.conditions or self.headers["If-Range"] in {None, b.etag}
        if b.ranges and self.headers["Range"] and fresh:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(b.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(b.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            last = len(b.body) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(b.body)}")
        for name, value in (("ETag", b.etag), ("Content-Encoding", b.encoding)):
            if value:
                self.send_header(name, value)
        if b.length:
            self.send_header("Content-Length", str(len(b.body) - start))
        self.end_headers()
        self.send_body(b.body[start:], b)

    def send_body(self, body: bytes, b: Behaviour) -> None:
        if b.cuts:
            body = body[: b.cuts.pop(0)]
        step = 100_000
        try:
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                b.sent += len(body[at : at + step])
                time.sleep(b.pause_s)
        except OSError:
            pass  # the client was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The address of a file on a server that behaves so."""
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/folder/file.zip"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_arrives_with_its_progress(tmp_path):
    seen: list[tuple[int, int | None]] = []
    with serving(Behaviour()) as url:
        got = download(url, tmp_path / "new" / "f", sha256=DIGEST.upper(), size=len(BODY),
                       progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert got.read_bytes() == BODY
    assert names(tmp_path / "new") == ["f"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_has_the_hash_is_not_asked_for_again(tmp_path):
    (tmp_path / "f").write_bytes(BODY)
    assert download("http://127.0.0.1:1/f", tmp_path / "f", sha256=DIGEST).read_bytes() == BODY


def test_truncated_answers_are_gone_on_with_and_no_byte_comes_twice(tmp_path):
    behaviour = Behaviour(cuts=[700_000, 500_000, 1])
    with serving(behaviour) as url:
        assert download(url, tmp_path / "f").read_bytes() == BODY
    assert behaviour.requests == [None, "bytes=700000-", "bytes=1200000-", "bytes=1200001-"]
    assert behaviour.sent == len(BODY)


def test_a_server_that_ignores_ranges_sends_all_again(tmp_path):
    behaviour = Behaviour(cuts=[700_000], ranges=False)
    with serving(behaviour) as url:
        assert download(url, tmp_path / "f").read_bytes() == BODY
    assert behaviour.sent == len(BODY) + 700_000


def test_a_server_that_always_breaks_off_at_one_place_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbench.data.download._BACKOFF_S", 0.001)
    behaviour = Behaviour(cuts=[1000] * 50, ranges=False)
    with serving(behaviour) as url, pytest.raises(UserError, match="before the end") as caught:
        download(url, tmp_path / "f")
    assert 3 <= len(behaviour.requests) <= 10
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("etag", ['"two"', 'W/"one"', None])
def test_a_file_that_changed_in_between_is_never_spliced(tmp_path, etag):
    behaviour = Behaviour(cuts=[700_000], statuses=[200, 404])
    with serving(behaviour) as url:
        with pytest.raises(UserError, match="404"):
            download(url, tmp_path / "f")
        assert (tmp_path / "f.part").stat().st_size == 700_000
        behaviour.body, behaviour.etag = BODY[::-1], etag
        assert download(url, tmp_path / "f").read_bytes() == BODY[::-1]
    assert behaviour.requests[-1] == "bytes=700000-"


def test_a_server_that_ignores_the_condition_of_a_range_is_not_believed(tmp_path):
    behaviour = Behaviour(cuts=[700_000], statuses=[200, 404], conditions=False)
    with serving(behaviour) as url:
        with pytest.raises(UserError, match="404"):
            download(url, tmp_path / "f")
        behaviour.body, behaviour.etag = BODY[::-1], '"two"'
        assert download(url, tmp_path / "f").read_bytes() == BODY[::-1]
    assert behaviour.requests[-2:] == ["bytes=700000-", None]


def test_without_a_validator_only_a_known_hash_lets_a_download_go_on(tmp_path):
    for known, again in ((DIGEST, "bytes=700000-"), (None, None)):
        behaviour = Behaviour(cuts=[700_000], etag=None)
        with serving(behaviour) as url:
            assert download(url, tmp_path / f"{known}", sha256=known).read_bytes() == BODY
        assert behaviour.requests == [None, again]


@pytest.mark.parametrize("note", ["", "{}", "[1]", '{"url": 1, "validator": null, "total": "x"}'])
def test_a_part_of_unknown_origin_is_thrown_away(tmp_path, note):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    (tmp_path / "f.part.json").write_text(note)
    with serving(Behaviour()) as url:
        assert download(url, tmp_path / "f").read_bytes() == BODY
    assert names(tmp_path) == ["f"]


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path):
    (tmp_path / "f.part").write_bytes(BODY + b"more")
    behaviour = Behaviour()
    with serving(behaviour) as url:
        note = {"url": url, "validator": '"one"', "total": None}
        (tmp_path / "f.part.json").write_text(json.dumps(note))
        assert download(url, tmp_path / "f").read_bytes() == BODY
    assert behaviour.requests == [f"bytes={len(BODY) + 4}-", None]


def test_a_wrong_hash_removes_the_file_and_names_both(tmp_path):
    with serving(Behaviour()) as url, pytest.raises(UserError) as caught:
        download(url, tmp_path / "f", sha256="ab" * 32)
    assert DIGEST in str(caught.value)
    assert "ab" * 32 in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_wrong_size_and_too_large_a_file_are_refused(tmp_path, length):
    with serving(Behaviour(length=length)) as url:
        with pytest.raises(UserError, match="where 7 are expected"):
            download(url, tmp_path / "f", size=7)
        with pytest.raises(UserError, match=r"more than 1|goes on after"):
            download(url, tmp_path / "f", max_bytes=1_000_000)
        assert not (tmp_path / "f").exists()
        assert download(url, tmp_path / "g", size=len(BODY)).read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(tmp_path, status):
    behaviour = Behaviour(statuses=[status] * 9)
    with serving(behaviour) as url, pytest.raises(UserError, match=str(status)):
        download(url, tmp_path / "f")
    assert len(behaviour.requests) == 1
    assert names(tmp_path) == []


def test_a_server_that_is_busy_is_asked_again(tmp_path):
    with serving(Behaviour(statuses=[503, 429])) as url:
        assert download(url, tmp_path / "f").read_bytes() == BODY


def test_an_encoded_body_is_refused(tmp_path):
    with serving(Behaviour(encoding="gzip")) as url, pytest.raises(UserError, match="gzip"):
        download(url, tmp_path / "f")


def test_redirects_lead_to_http_alone(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for place in (secret.as_uri(), "ftp://127.0.0.1/f", "data:,hello"):
        with (
            serving(Behaviour(redirect=place)) as url,
            pytest.raises(UserError, match=r"not allowed|leads on"),
        ):
            download(url, tmp_path / "f")
    with serving(Behaviour()) as good, serving(Behaviour(redirect=good)) as url:
        assert download(url, tmp_path / "f").read_bytes() == BODY
    behaviour = Behaviour()
    with serving(behaviour) as url:
        behaviour.redirect = url
        with pytest.raises(UserError, match="infinite loop") as caught:
            download(url, tmp_path / "loop")
    assert "\n" not in str(caught.value)


def test_a_redirect_from_https_to_http_is_refused():
    request = urllib.request.Request("https://cells.example/f")
    for place, allowed in (("https://other.example/f", True), ("http://cells.example/f", False)):
        with nullcontext() if allowed else pytest.raises(DownloadRefused, match="leads on"):
            Redirects().redirect_request(request, io.BytesIO(), 302, "Found", {}, place)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "/etc/passwd", "", "x:y"])
def test_what_is_no_http_address_is_refused(tmp_path, url):
    with pytest.raises(UserError, match="no http or https"):
        download(url, tmp_path / "f")


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a:b/", "http://a b/", "https:///x"]
)
def test_a_malformed_address_is_one_sentence(tmp_path, url):
    with pytest.raises(UserError, match=r"could not be downloaded: .*\.$"):
        download(url, tmp_path / "f", timeout_s=1)


def test_names_with_spaces_and_accents_are_asked_for_as_a_browser_does(tmp_path):
    behaviour = Behaviour()
    with serving(behaviour) as url:
        download(f"{url}/fiché n°1.zip?a=b c%20d", tmp_path / "f")
    assert behaviour.paths == ["/folder/file.zip/fich%C3%A9%20n%C2%B01.zip?a=b%20c%20d"]


def within(seconds: float, url: str, target: Path, **options) -> str:
    """The sentence with which a download gives up in time."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        download(url, target, **options)
    assert time.monotonic() - start < seconds
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_never_answers_is_given_up_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        assert "does not answer" in within(1.0, url, tmp_path / "f", timeout_s=0.5)


def test_headers_that_come_byte_by_byte_do_not_stretch_the_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                        connection.send(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    pass

        threading.Thread(target=trickle, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/f"
        within(1.0, url, tmp_path / "f", timeout_s=0.5)


def test_a_name_that_is_looked_up_forever_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    within(1.0, "http://cells.example/f", tmp_path / "f", timeout_s=0.5)


def test_no_network_is_said_at_once(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = within(0.5, "https://cells.example/f", tmp_path / "f")
    assert "cells.example cannot be reached (Temporary failure in name resolution)" in said
    monkeypatch.undo()
    assert "127.0.0.1 cannot be reached" in within(0.5, "http://127.0.0.1:1/f", tmp_path / "f")


def test_a_stall_in_the_middle_is_taken_up_again(tmp_path):
    behaviour = Behaviour(pause_s=0.4)
    with serving(behaviour) as url:
        behaviour.body = BODY[:250_000]
        got = download(url, tmp_path / "f", timeout_s=0.25, answer_s=2)
    assert got.read_bytes() == BODY[:250_000]
    assert len(behaviour.requests) > 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    # What is written to this device fails as on a full disk.
    (tmp_path / "f.part").symlink_to("/dev/full")
    with serving(Behaviour()) as url, pytest.raises(UserError, match="disk is full"):
        download(url, tmp_path / "f")


def test_a_file_that_will_not_fit_is_refused_before_it_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with serving(Behaviour()) as url, pytest.raises(UserError, match="disk is full"):
        download(url, tmp_path / "f")
    assert names(tmp_path) == []


def test_a_download_killed_in_the_middle_goes_on_where_it_stopped(tmp_path):
    behaviour = Behaviour(pause_s=0.05)
    code = "import sys; from pathlib import Path; from cellbench.data.download import download; "
    code += "download(sys.argv[1], Path(sys.argv[2]))"
    part = tmp_path / "f.part"
    with serving(behaviour) as url:
        for kill in range(1, 4):
            process = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path / "f")])
            until = time.monotonic() + 30
            while not (part.exists() and part.stat().st_size >= kill * 500_000):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        kept = part.stat().st_size
        behaviour.pause_s = 0
        assert download(url, tmp_path / "f").read_bytes() == BODY
    assert behaviour.requests[-1] == f"bytes={kept}-"
    assert names(tmp_path) == ["f"]


# The whole way: download, unpack, check, import.


def adi_like_files(images: int = 4) -> dict[str, bytes]:
    """Generated images in ADI's raw layout: red dots in a JPEG of the picture's name."""
    rng = np.random.default_rng(0)
    files = {}
    for index in range(images):
        picture = rng.integers(180, 255, (150, 150, 3), dtype=np.uint8)
        dots = np.zeros((150, 150, 3), np.uint8)
        dots[rng.integers(0, 15, 9) * 10, np.arange(9) * 16, 0] = 255
        for folder, pixels in (("images", picture), ("annotations", dots)):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=100, subsampling=0)
            name = f"adipocyte_data/{folder}/{index}_GTEX-A{index}_Adipose-Subcutaneous.jpeg"
            files[name] = buffer.getvalue()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("CELLBENCH_OFFLINE", raising=False)
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CELLBENCH_MIRROR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def toy(tmp_path):
    """A data set in ADI's layout whose published files are the generated ones."""
    files = adi_like_files()
    manifest = tmp_path / "toy.json"
    hashes = {
        name.removeprefix("adipocyte_data/"): hashlib.sha256(content).hexdigest()
        for name, content in files.items()
    }
    manifest.write_text(json.dumps({"root": "adipocyte_data", "files": hashes}))
    kind = type(
        "Toy", (DATASETS.get("adi"),),
        {"name": "toyfat", "title": "TOY", "manifest": manifest, "images": 4, "archives": (),
         "__module__": __name__},
    )  # fmt: skip
    DATASETS.register_module(name="toyfat", module=kind)
    yield kind()
    DATASETS.module_dict.pop("toyfat")


def assert_whole(stored, images: int = 4) -> None:
    assert len(stored) == images
    assert verify_set(stored) == []


def test_a_set_is_fetched_and_nothing_else_is_kept(home, toy):
    done: list[tuple[int, int]] = []
    with serving(Behaviour(body=zipped(adi_like_files()))) as url:
        stored = fetch_set(toy, url=url, import_progress=lambda i, n: done.append((i, n)))
    assert_whole(stored)
    assert [stored.sample(i).count for i in stored.ids] == [9] * 4
    assert done[-1] == (4, 4)
    assert [p for p in (home / "downloads").iterdir() if not p.name.endswith(".lock")] == []


def test_a_set_on_disk_is_opened_without_the_network_unless_forced(home, toy):
    behaviour = Behaviour(body=zipped(adi_like_files()))
    with serving(behaviour) as url:
        first = fetch_set(toy, url=url)
        assert fetch_set(toy, url="http://127.0.0.1:1/x").manifest_hash == first.manifest_hash
        again = fetch_set(toy, url=url, force=True)
    assert again.manifest_hash == first.manifest_hash
    assert len(behaviour.requests) == 2


def test_a_truncated_download_of_a_set_is_completed(home, toy):
    body = zipped(adi_like_files())
    behaviour = Behaviour(body=body, cuts=[len(body) // 3, len(body) // 3])
    with serving(behaviour) as url:
        assert_whole(fetch_set(toy, url=url))
    assert behaviour.sent == len(body)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda files: zipped(files)[:-500], "damaged or cut short"),
        (lambda files: zipped({**files, "../../climbed.txt": b"x"}), "outside the folder"),
        (lambda files: zipped(dict(list(files.items())[:-1])), "7 of the 8 published files"),
        (lambda files: zipped({k: v + b"\0" for k, v in files.items()}), "0 of the 8 published"),
        (lambda _: b"<html>log in</html>", "web page"),
    ],
)
def test_a_wrong_archive_leaves_no_set_and_the_next_address_is_tried(home, toy, spoil, why):
    files = adi_like_files()
    before = sorted(home.parent.rglob("*"))
    with (
        serving(Behaviour(body=spoil(files))) as bad,
        serving(Behaviour(body=zipped(files))) as good,
    ):
        with pytest.raises(UserError, match=why) as caught:
            fetch_set(toy, url=bad)
        assert "cellbench data import toyfat --from DIR" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not is_on_disk("toyfat")
        left = set(home.parent.rglob("*")) - set(before)
        assert {p.name for p in left} <= {"home", "downloads", ".toyfat.lock"}
        type(toy).archives = (Archive(bad), Archive(good, sha256="00" * 32), Archive(good))
        assert_whole(fetch_set(toy))


def test_a_dead_network_costs_its_time_once_for_all_addresses(home, toy):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        type(toy).archives = tuple(Archive(f"http://127.0.0.1:{port}/{i}") for i in range(3))
        start = time.monotonic()
        with pytest.raises(UserError, match="does not answer"):
            fetch_set(toy, timeout_s=0.9)
    assert time.monotonic() - start < 1.4


def test_a_set_without_address_says_where_it_comes_from(home, toy):
    with pytest.raises(UserError, match=r"TOY cannot be downloaded; its raw copy is"):
        fetch_set(toy)


def test_offline_means_offline_but_for_an_address_of_the_users_own(home, toy, monkeypatch):
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    behaviour = Behaviour(body=zipped(adi_like_files()))
    with serving(behaviour) as url:
        type(toy).archives = (Archive(url),)
        with pytest.raises(UserError, match="CELLBENCH_OFFLINE is set"):
            fetch_set(toy)
        assert behaviour.requests == []
        assert_whole(fetch_set(toy, url=url))


def test_a_mirror_replaces_all_but_the_name_of_the_file(home, toy, monkeypatch):
    behaviour = Behaviour(body=zipped(adi_like_files()))
    type(toy).archives = (Archive("https://cells.invalid/a/b/adipocyte_data.zip"),)
    with serving(behaviour) as url:
        monkeypatch.setenv("CELLBENCH_MIRROR", url.removesuffix("file.zip"))
        assert_whole(fetch_set(toy))
    assert behaviour.paths == ["/folder/adipocyte_data.zip"]


def test_two_fetches_at_once_download_once(home, toy):
    behaviour = Behaviour(body=zipped(adi_like_files()), pause_s=0.2)
    results: list[int] = []
    with serving(behaviour) as url:
        threads = [
            threading.Thread(target=lambda: results.append(len(fetch_set(toy, url=url))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [4, 4, 4]
    assert len(behaviour.requests) == 1


if SHARED:

    def test_the_real_set_is_fetched_after_a_kill_a_cut_and_a_resume(home):
        raw = Path(SHARED) / "data" / "adipocyte_data"
        files = {
            path.relative_to(raw.parent).as_posix(): path.read_bytes()
            for path in sorted(raw.rglob("*.jpeg"))
        }
        body = zipped(files)
        behaviour = Behaviour(body=body, cuts=[len(body) // 2], pause_s=0.03)
        with serving(behaviour) as url:
            command = [sys.executable, "-m", "cellbench", "data", "fetch", "adi", "--url", url]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            until = time.monotonic() + 60
            while behaviour.sent < len(body) // 4:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not is_on_disk("adi")
            behaviour.pause_s = 0
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert f"adi: 200 images in {home}" in done.stdout
        assert behaviour.requests[0] is None
        assert all(asked for asked in behaviour.requests[1:])
        stored = fetch_set(DATASETS.build({"type": "adi"}))
        assert_whole(stored, 200)
        counts = [stored.sample(i).count for i in stored.ids]
        assert np.mean(counts) == pytest.approx(155.1, abs=0.05)
