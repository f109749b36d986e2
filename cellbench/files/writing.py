"""Atomic file writes, hashes and safe file names."""

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
from cellbench.files.locks import Busy, is_abandoned, locked, try_lock
from cellbench.files.reading import open_file

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_ID = 100
"""Greatest length of a name that `safe_id` does not change."""


def sha256(data: bytes) -> str:
    """Compute the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Compute the SHA-256 of a regular file, in hexadecimal.

    Raises:
        OSError: it is not a regular file, is larger than `limits.FILE`, or cannot be read.
    """
    with open_file(path, most=FILE.size) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def safe_id(name: str) -> str:
    """Return a deterministic name that is safe as a file name on any system.

    Letters, digits, dots, dashes and underscores are kept; a changed name gets the first digits of
    its hash, so that different names stay different.
    """
    kept = _UNSAFE.sub("_", name).lstrip(".-")[:LONGEST_ID]
    if kept == name:
        return name
    return f"{kept or 'image'}-{sha256(name.encode('utf-8', 'surrogatepass'))[:8]}"


@contextmanager
def explained_writing(place: Path, *, elsewhere: str | None = None) -> Iterator[None]:
    """Convert operating system errors of a write to one sentence.

    Args:
        place: path that is written, for the message.
        elsewhere: option or variable that sets another folder, for the message; by default that of
            the folder that contains `place`.

    Raises:
        UserError: the disk is full, read-only or fails, or writing is not permitted.
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
    """Return the variable or options that set the folder of a path."""
    with suppress(OSError, RuntimeError):
        home = paths.home().absolute()
        if home == place.absolute() or home in place.absolute().parents:
            return "CELLBENCH_HOME"
    return "--store or --out"


def write_atomically(path: Path, data: bytes, *, elsewhere: str | None = None) -> None:
    """Write a file atomically: readers find the old file or the complete new one.

    The data are flushed to the disk before the file gets its name.

    Args:
        path: path of the file; its folder is created if missing.
        data: contents of the file.
        elsewhere: see `explained_writing`.

    Raises:
        UserError: the file cannot be written; an older file of the name is kept.
    """
    with explained_writing(path, elsewhere=elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Remove partial files of killed processes.
        for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            with suppress(OSError):
                if is_abandoned(partial):
                    partial.unlink()
        try:
            _put(path, data)
        except FileNotFoundError:  # another process took it for abandoned before it was claimed
            _put(path, data)


def _put(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as stream:
            with suppress(Busy):  # `is_abandoned` in another process holds it for a moment
                try_lock(stream.fileno())
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
        OSError: the disk is full or fails.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


@contextmanager
def write_lock(folder: Path, name: str) -> Iterator[None]:
    """Wait for and hold the lock for writing `folder/name`; it is released with the process.

    Raises:
        UserError: the folder cannot be written; or the file system has no locks and another
            process holds the lock file.
    """
    with ExitStack() as stack:
        try:
            with explained_writing(folder / name):
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder / f".{name}.lock", wait=True))
        except Busy as busy:
            raise UserError(
                f"Another process writes {folder / name}; wait for it{busy.hint}."
            ) from None
        yield
