"""File locks between processes, also on file systems without `flock`.

On a file system without `flock` (NFS without its lock service, some FUSE and Lustre mounts) the
lock is a file that exists while it is held; filelock removes it once its process is gone from this
machine.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cellbench.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where filelock uses the system's locks
    fcntl = None  # type: ignore[assignment]

# Errors of file systems without locks.
_NO_LOCKS = frozenset(
    getattr(errno, name)
    for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "ENOTSUP", "EINVAL", "EPERM", "ESTALE")
    if hasattr(errno, name)
)

_LONGEST_WAIT_S = 60.0
_ABANDONED_S = 3600.0

HELD = ".held"
"""Suffix of the lock file on file systems without `flock`."""


class Busy(Exception):
    """Raised when another process holds the lock.

    Attributes:
        file: lock file on a file system without `flock`; None for a lock of the system, which is
            released however its process ends.
    """

    def __init__(self, file: Path | None) -> None:
        """Create the error for a lock file, or None for a lock of the system."""
        super().__init__(f"locked by {file}" if file else "locked")
        self.file = file

    @property
    def hint(self) -> str:
        """Advice if the lock's process on another machine is gone; empty for system locks."""
        return "" if self.file is None else f"; if none is, delete {self.file}"


@contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file, which is created if missing and not deleted.

    Args:
        file: lock file, in an existing folder.
        wait: whether to wait until the lock is free (for a minute on a file system without
            `flock`); else `Busy` is raised at once.

    Raises:
        Busy: another process holds the lock.
        OSError: the folder cannot be written.
    """
    # Opening the file also fails for a folder that cannot be written, which is not `Busy`.
    # O_NOFOLLOW: a link could create a file elsewhere.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(file, flags, 0o666)
    try:
        if fcntl is not None and _flocked(descriptor, wait):
            yield
            return
    finally:
        os.close(descriptor)
    with _lock_file(file, wait):
        yield


@contextmanager
def hold_folder(folder: Path, *, elsewhere: str, busy: str) -> Iterator[None]:
    """Lock a folder for one process; create it if missing.

    The system releases the lock however the process ends.

    Args:
        folder: folder to lock.
        elsewhere: option that sets another folder, for messages.
        busy: message if another process holds the lock.

    Raises:
        UserError: the folder cannot be written, or is locked.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / "lock", wait=False))
        except Busy as error:
            raise UserError(busy.rstrip(".") + error.hint + ".") from None
        except OSError as error:
            raise UserError(
                f"The folder {folder} cannot be written ({error.strerror}); name another one "
                f"with {elsewhere}."
            ) from None
        yield


def is_abandoned(file: Path) -> bool:
    """Return whether no living process writes a file that was locked by `try_lock`.

    On a file system without locks a file not modified for an hour counts as abandoned.

    Raises:
        OSError: the file is gone or cannot be opened.
    """
    descriptor = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if try_lock(descriptor):
            return True
        return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_S
    except Busy:
        return False
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, however its process ends.

    Returns:
        False on a file system without locks.

    Raises:
        Busy: another process holds the lock.
    """
    return fcntl is not None and _flocked(descriptor, wait=False)


def _flocked(descriptor: int, wait: bool) -> bool:
    """Acquire the system's lock; return False on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(None) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


@contextmanager
def _lock_file(file: Path, wait: bool) -> Iterator[None]:
    from filelock import FileLock, SoftFileLock, Timeout

    lock_file = file.with_name(file.name + HELD)
    kind = FileLock if fcntl is None else SoftFileLock
    lock: Any = kind(lock_file, timeout=_LONGEST_WAIT_S if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(None if fcntl is None else lock_file) from None
    try:
        yield
    finally:
        lock.release()
