"""Resumable download of one file over HTTP."""

import errno
import http.client
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cellbench.data.web import (
    CHUNK,
    DownloadRefused,
    PartialDownloadMismatch,
    ServerUnreachable,
    TransferInterrupted,
    ask,
    reason,
)
from cellbench.errors import UserError
from cellbench.files.reading import read_fields
from cellbench.files.writing import sha256_file, sync

MAX_BYTES = 4 * 2**30
Progress = Callable[[int, int | None], None]

_RETRIES = 5
_BACKOFF_S = 0.25


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = 5.0,
    answer_s: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a file; it appears under its name only when it is complete.

    Received bytes stay in `<target>.part`, also after a kill, and the next call requests only the
    rest, provided that the server confirms that the file is unchanged (ETag or date) or `sha256`
    is given. A dropped connection is retried with growing pauses, until five attempts in a row
    bring no new bytes. A target that has the hash already is returned without a request.

    Args:
        url: http or https; a redirect may not lead to anything else, nor from https to http.
        target: path of the file; its folder is created.
        sha256: of the file, in hex, if known.
        size: in bytes, if known.
        max_bytes: a longer file is rejected.
        timeout_s: seconds without a byte after which a connection counts as dropped.
        answer_s: seconds until the first byte, including all attempts, name look-up and
            redirects; `timeout_s` if None.
        progress: called with the received bytes and the total, None if unknown.

    Returns:
        `target`.

    Raises:
        UserError: the file cannot be downloaded, is not the expected one, or the disk is full.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UserError(f"{url!r} is no http or https address; import local files instead.")
    if sha256 and target.is_file() and sha256_file(target) == sha256.lower():
        return target
    part = _Part(target, url, trusted=sha256 is not None)
    transfer = _Transfer(url, part, size, max_bytes, timeout_s, answer_s or timeout_s, progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer.run()
        if sha256 and (found := sha256_file(part.path)) != sha256.lower():
            part.discard()
            raise DownloadRefused(f"its SHA-256 is {found} where {sha256.lower()} is expected")
        part.finish()
    except DownloadRefused as error:
        raise UserError(f"{url} could not be downloaded: {error}.") from error
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        why = "the disk is full" if full else error.strerror or error
        raise UserError(
            f"{url} could not be written to {target} ({why}); free some space there or set "
            "CELLBENCH_HOME to another folder, and what has come is kept."
        ) from error
    return target


class _Part:
    """Unfinished file, and a note of the address and version that it belongs to."""

    def __init__(self, target: Path, url: str, *, trusted: bool) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.note_path = target.with_name(f"{target.name}.part.json")
        self.url = url
        self.trusted = trusted

    @property
    def size(self) -> int:
        """Number of received bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self) -> "_Note | None":
        """Read the version of the received bytes; None if they must not be continued."""
        try:
            note = read_fields(self.note_path, _Note)
        except (OSError, ValueError):
            return None
        whole = isinstance(note.total, int) and self.size > note.total
        unsure = not note.validator and not self.trusted
        return None if note.url != self.url or unsure or whole else note

    def start(self, note: "_Note") -> None:
        """Start a new file. Old bytes go first: a kill in between must not join two files."""
        self.path.write_bytes(b"")
        self.note_path.write_text(json.dumps(asdict(note)), encoding="utf-8")

    def discard(self) -> None:
        """Delete the received bytes and their note."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the complete file to its target."""
        self.path.replace(self.target)
        self.note_path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Note:
    """Version of a file, as its server states it.

    Attributes:
        url: as requested, before redirects.
        validator: a strong ETag or a date, for If-Range; empty if the server gives neither.
        total: length of the whole file in bytes; None if the server does not state it.
    """

    url: str
    validator: str
    total: int | None


@dataclass(slots=True)
class _Transfer:
    """Download of one file, with repeated attempts."""

    url: str
    part: _Part
    size: int | None
    max_bytes: int
    timeout_s: float
    answer_s: float
    progress: Progress | None
    answered: bool = False

    def run(self) -> None:
        """Download until the part is complete."""
        deadline = time.monotonic() + self.answer_s
        best, fruitless = self.part.size, 0
        while True:
            seconds = self.timeout_s if self.answered else deadline - time.monotonic()
            try:
                if seconds <= 0:
                    raise TransferInterrupted(f"nothing came within {self.answer_s:g} s")
                if self._attempt(seconds):
                    return
                why = "the connection closes before the end"
            except TransferInterrupted as error:
                why = str(error)
                if isinstance(error, PartialDownloadMismatch):
                    self.part.discard()
                if isinstance(error, ServerUnreachable) and not self.answered:
                    raise DownloadRefused(why) from error
            fruitless = 0 if self.part.size > best else fruitless + 1
            best = max(best, self.part.size)
            pause = _BACKOFF_S * 2**fruitless
            late = not self.answered and time.monotonic() + pause > deadline
            if fruitless >= _RETRIES or late:
                kept = f", and {self.part.size / 1e6:.1f} MB are kept" if self.part.size else ""
                raise DownloadRefused(f"{why}; try again later{kept}")
            time.sleep(pause)

    def _attempt(self, seconds: float) -> bool:
        """Send one request; return whether the part is complete after it."""
        note = self.part.note()
        offset = self.part.size if note else 0
        if note and note.total is not None and offset == note.total:
            return True  # killed between the last byte and the rename
        headers = {}
        if note and offset:
            headers["Range"] = f"bytes={offset}-"
            if note.validator:
                headers["If-Range"] = note.validator
        response, chunk = ask(self.url, headers, within_s=seconds, timeout_s=self.timeout_s)
        with response:
            current = self._version(response, note, offset)
            if response.status == 200:
                self.part.start(current)
            return self._receive(response, chunk, current.total)

    def _version(self, response: Any, note: _Note | None, offset: int) -> _Note:
        """Return the version of the file in a response; raise if it is not the requested one."""
        headers = response.headers
        if response.status not in {200, 206}:
            raise DownloadRefused(f"the server answers {response.status} instead of the file")
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadRefused(f"it comes encoded as {headers['Content-Encoding']!r}")
        tag = headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        length = headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            total = int(match[2]) if match else None
            same = not (note and note.validator and strong) or strong == note.validator
            joins = match is not None and int(match[1]) == offset
            if note is None or not joins or not same or total != (note.total or total):
                raise PartialDownloadMismatch("the server sends another part than was asked for")
        self._check_total(total, offset if response.status == 206 else 0)
        return _Note(self.url, strong, total)

    def _check_total(self, total: int | None, offset: int) -> None:
        if total is None:
            return
        if self.size is not None and total != self.size:
            self.part.discard()
            raise DownloadRefused(f"it has {total} bytes where {self.size} are expected")
        if total > self.max_bytes:
            raise DownloadRefused(
                f"it has {total / 1e6:.0f} MB, more than {self.max_bytes / 1e6:.0f}"
            )
        if total - offset > shutil.disk_usage(self.part.path.parent).free:
            raise OSError(errno.ENOSPC, "the disk is full")

    def _receive(self, response: Any, chunk: bytes, total: int | None) -> bool:
        """Append the body to the part; return whether its end was reached."""
        done = self.part.size
        with self.part.path.open("ab") as out:
            while chunk:
                self.answered = True
                done += len(chunk)
                if done > (self.max_bytes if total is None else total):
                    self.part.discard()
                    raise DownloadRefused(f"it goes on after {done - len(chunk)} bytes")
                out.write(chunk)
                if self.progress:
                    self.progress(done, total)
                try:
                    chunk = response.read1(CHUNK)
                except TimeoutError as error:
                    raise TransferInterrupted(f"no byte comes for {self.timeout_s:g} s") from error
                except (OSError, http.client.HTTPException) as error:
                    raise TransferInterrupted(f"the connection breaks ({reason(error)})") from error
            sync(out.fileno())
        if self.size is not None and total is None and done != self.size:
            self.part.discard()
            raise DownloadRefused(f"it has {done} bytes where {self.size} are expected")
        return total is None or done == total
