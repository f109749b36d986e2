"""One process at a time, on disks that know locks and on those that do not.

On a disk without `flock` (NFS without its lock service, some FUSE and Lustre mounts) a file that
exists while the lock is held stands in; filelock removes it once its process is gone from this
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
except ImportError:  # Windows, where filelock knows the system's own locks
    fcntl = None  # type: ignore[assignment]

# How a file system answers that it has no locks.
_NO_LOCKS = frozenset(
    getattr(errno, name)
    for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "ENOTSUP", "EINVAL", "EPERM", "ESTALE")
    if hasattr(errno, name)
)

_LONGEST_WAIT_S = 60.0
_ABANDONED_S = 3600.0

HELD = ".held"
"""What the name of the file ends in that stands for a lock where the disk has none."""


class Busy(Exception):
    """Another process holds the lock.

    Attributes:
        file: that stands for the lock where the disk has none; None where the system holds it,
            which lets go of it however a process ends.
    """

    def __init__(self, file: Path | None) -> None:
        """Keep the file."""
        super().__init__(f"locked by {file}" if file else "locked")
        self.file = file

    @property
    def hint(self) -> str:
        """What mends a lock whose holder on another machine is gone; empty where none can be."""
        return "" if self.file is None else f"; if none is, delete {self.file}"


@contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file, which is made and stays.

    Args:
        file: in a folder that exists.
        wait: until it is free, on a disk without locks for a minute; else `Busy` is raised at
            once.

    Raises:
        Busy: another process holds it.
        OSError: the folder cannot be written.
    """
    # Also what tells a folder that cannot be written from one that is locked.
    # A link would make a file elsewhere.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(file, flags, 0o666)
    try:
        if fcntl is not None and _flocked(descriptor, wait):
            yield
            return
    finally:
        os.close(descriptor)
    with _stand_in(file, wait):
        yield


@contextmanager
def hold(folder: Path, *, elsewhere: str, busy: str) -> Iterator[None]:
    """Let one process at a time into a folder, which is made if it is not there.

    The system lets go of it however the process ends.

    Args:
        folder: to be held.
        elsewhere: the option that names another folder.
        busy: what is said where another process holds it.

    Raises:
        UserError: the folder cannot be made, or is held.
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


def abandoned(file: Path) -> bool:
    """Whether no living process writes a file that `claimed` was called for.

    On a disk without locks a file that has not been touched for an hour counts as abandoned.

    Raises:
        OSError: it is gone or cannot be opened.
    """
    descriptor = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if claimed(descriptor):
            return True
        return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_S
    except Busy:
        return False
    finally:
        os.close(descriptor)


def claimed(descriptor: int) -> bool:
    """Lock an open file until it is closed, however its process ends; False without locks.

    Raises:
        Busy: another process has it.
    """
    return fcntl is not None and _flocked(descriptor, wait=False)


def _flocked(descriptor: int, wait: bool) -> bool:
    """Take the system's lock; False where the disk has none."""
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
def _stand_in(file: Path, wait: bool) -> Iterator[None]:
    from filelock import FileLock, SoftFileLock, Timeout

    stand_in = file.with_name(file.name + HELD)
    kind = FileLock if fcntl is None else SoftFileLock
    lock: Any = kind(stand_in, timeout=_LONGEST_WAIT_S if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(None if fcntl is None else stand_in) from None
    try:
        yield
    finally:
        lock.release()
