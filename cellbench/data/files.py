"""Writing files so that a reader finds the old one, the new one, never half of one."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellbench.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: two processes that write one set at once are not kept apart there
    fcntl = None  # type: ignore[assignment]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_ID = 100


def sha256(data: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def safe_id(name: str) -> str:
    """A name that is safe as a file name on any system, the same for the same input.

    Letters, digits, dots, dashes and underscores stay; a name that has to be changed gets a
    piece of its hash, so that two names never become one.
    """
    kept = _UNSAFE.sub("_", name).lstrip(".-")[:_LONGEST_ID]
    if kept == name:
        return name
    return f"{kept or 'image'}-{sha256(name.encode('utf-8', 'surrogatepass'))[:8]}"


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the operating system says about a failed write into one sentence.

    Args:
        place: what was being written, for the message.

    Raises:
        UserError: the disk is full, read-only, not ours, or fails.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"{place} could not be written ({reason}); nothing was kept of it: make room or set "
            "CELLBENCH_HOME to a folder that can be written."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Put a file in place as a whole, and onto the disk before it gets its name.

    Args:
        path: the file; its folder is made if it is missing.
        data: all of its bytes.

    Raises:
        UserError: it cannot be written; an older file of the name is still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


@contextmanager
def only_writer(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process writes `folder/name`; the lock dies with its process."""
    with writing(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / f".{name}.lock").open("w")
    with stream:
        if fcntl is not None:
            # Some network disks know no locks: there the rename alone keeps a set whole.
            with suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
