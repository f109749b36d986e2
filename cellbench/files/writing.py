"""Writing files so that a reader finds the old one, the new one, never half of one."""

import errno
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cellbench import paths
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.locks import Busy, abandoned, claimed, locked
from cellbench.files.reading import open_file

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_ID = 100
"""Characters of what `safe_id` leaves as it is."""


def sha256(data: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes, in hexadecimal.

    Raises:
        OSError: it is of another kind, is larger than `limits.FILE`, or cannot be read.
    """
    with open_file(path, most=FILE.size) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def safe_id(name: str) -> str:
    """A name that is safe as a file name on any system, the same for the same input.

    Letters, digits, dots, dashes and underscores stay; a name that has to be changed gets a
    piece of its hash, so that two names never become one.
    """
    kept = _UNSAFE.sub("_", name).lstrip(".-")[:LONGEST_ID]
    if kept == name:
        return name
    return f"{kept or 'image'}-{sha256(name.encode('utf-8', 'surrogatepass'))[:8]}"


@contextmanager
def writing(place: Path, *, elsewhere: str | None = None) -> Iterator[None]:
    """Turn an operating system's error about a write into one sentence.

    Args:
        place: what was being written, for the message.
        elsewhere: the option or variable that names another folder; by default the one of the
            folder that the place is in.

    Raises:
        UserError: the disk is full, read-only, not ours, or fails.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"{place} could not be written ({reason}); nothing was kept of it: make room, or name "
            f"a folder that can be written with {elsewhere or _option_of(place)}."
        ) from error
    except UnicodeEncodeError as error:
        name = ascii(place.name)[1:-1]
        raise UserError(
            f"{name} could not be written: the encoding {error.encoding} of this system lacks "
            "signs of its name; set LC_ALL to C.UTF-8."
        ) from error


def _option_of(place: Path) -> str:
    """What names the folder that a place is in."""
    with suppress(OSError, RuntimeError):
        home = paths.home().absolute()
        if home == place.absolute() or home in place.absolute().parents:
            return "CELLBENCH_HOME"
    return "--store or --out"


def write_atomically(path: Path, data: bytes, *, elsewhere: str | None = None) -> None:
    """Put a file in place as a whole, and onto the disk before it gets its name.

    Args:
        path: the file; its folder is made if it is missing.
        data: all of its bytes.
        elsewhere: see `writing`.

    Raises:
        UserError: it cannot be written; an older file of the name is still there.
    """
    with writing(path, elsewhere=elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        # What killed processes left of the file that they were about to put in place.
        for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            with suppress(OSError):
                if abandoned(partial):
                    partial.unlink()
        try:
            _put(path, data)
        except FileNotFoundError:  # taken for abandoned while it was not claimed
            _put(path, data)


def _put(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as stream:
            with suppress(Busy):  # whoever looks whether it is abandoned has it for a moment
                claimed(stream.fileno())
            stream.write(data)
            stream.flush()
            sync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError, UnicodeError):
            temporary.unlink()
        raise


def sync(descriptor: int) -> None:
    """Flush written data to the disk, where the file system supports it.

    Raises:
        OSError: it could not be: the disk is full or fails.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


@contextmanager
def only_writer(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process writes `folder/name`; the lock dies with its process.

    Raises:
        UserError: the folder cannot be written; or the disk has no locks of the system and
            another process holds the file that stands in for one.
    """
    with ExitStack() as stack:
        try:
            with writing(folder / name):
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder / f".{name}.lock", wait=True))
        except Busy as busy:
            raise UserError(
                f"Another process writes {folder / name}; wait for it{busy.hint}."
            ) from None
        yield
