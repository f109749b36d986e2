"""Claims on runs: one lock file a run, so that two sweeps over one store never share a run.

A claim is made by hard-linking a complete file to its name, which only one of several processes
succeeds in, on network disks too; on a disk without hard links the file is created under its name
exclusively. It records the process and machine that hold it. On that machine it is stale as soon
as the process is gone; on others, when it has not been touched for `STALE_S`, by the clock of the
disk, not of the machines.
"""

import errno
import json
import os
import platform
import secrets
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from cellbench.errors import UserError
from cellbench.files.reading import read_fields
from cellbench.files.writing import explained_writing, sync, write_lock

HEARTBEAT_S = 15.0
STALE_S = 120.0

_NAME = "claim.json"
_UNFINISHED = f".{_NAME}."

# Error codes of file systems without hard links.
_NO_LINKS = frozenset(
    (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS, errno.EMLINK)
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a claim.

    Attributes:
        place: machine, boot and pid namespace, within which a pid is unique; see `host_id`.
        pid: id of the process.
        started: start time of the process, in its system's format, since pids are reused.
        token: random name of this claim.
    """

    place: str
    pid: int
    started: str
    token: str

    @property
    def host(self) -> str:
        """The name of the machine, for display."""
        return self.place.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Claim:
    """Lock on a run, held by this process."""

    file: Path
    token: str

    def touch(self) -> None:
        """Update the time of the file, which shows that the holder is alive."""
        with suppress(OSError):
            os.utime(self.file)

    def release(self) -> None:
        """Remove the file, unless another process has taken the claim over."""
        holder = _read_holder(self.file)
        if holder is not None and holder.token == self.token:
            self.file.unlink(missing_ok=True)


def take_claim(folder: Path) -> Claim | None:
    """Claim the run of a folder; a claim whose holder is gone is replaced.

    Returns:
        None if another process holds it.

    Raises:
        UserError: the folder cannot be written.
    """
    file = folder / _NAME
    with explained_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # The link alone prevents two claims; the lock prevents two recoveries of a stale claim.
    with write_lock(folder, "claim"), explained_writing(file):
        _remove_abandoned(folder)
        if file.exists():
            return None
        holder = Holder(host_id(), os.getpid(), process_start(os.getpid()), secrets.token_hex(8))
        if not _link_claim(file, json.dumps(asdict(holder)), holder.token):
            return None
    return Claim(file, holder.token)


def _link_claim(file: Path, text: str, token: str) -> bool:
    """Link a claim to its name; False if another process was first."""
    finished = file.with_name(f"{_UNFINISHED}{token}")
    finished.write_text(text)
    try:
        os.link(finished, file)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_claim(file, text)
    finally:
        finished.unlink(missing_ok=True)
    return True


def _create_claim(file: Path, text: str) -> bool:
    """Create a claim without hard links; readers may see the file before its content."""
    try:
        with file.open("x") as stream:
            stream.write(text)
            stream.flush()
            sync(stream.fileno())
    except FileExistsError:
        return False
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return True


def holder_of(folder: Path) -> Holder | None:
    """Return the process that holds the run of a folder; None if there is none or it is gone."""
    file = folder / _NAME
    try:
        return _read_holder(file) if file.exists() and _has_live_holder(file) else None
    except OSError:
        return None


def remove_stale(folder: Path) -> None:
    """Remove the claim on a run if its holder is gone."""
    if _claim_files(folder):
        with suppress(UserError, OSError), write_lock(folder, "claim"):
            _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove the claims, complete or not, of processes that are gone."""
    for file in _claim_files(folder):
        if not _has_live_holder(file):
            file.unlink(missing_ok=True)


def _claim_files(folder: Path) -> list[Path]:
    """List the claim on a run, and claims that are being made or were never finished."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    return [folder / name for name in names if name == _NAME or name.startswith(_UNFINISHED)]


class Heartbeat:
    """Context manager that touches the claims of this process in a background thread."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="claims")

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Release the claims that are still held."""
        self._over.set()
        for claim in list(self._claims.values()):
            self.drop(claim)

    def hold(self, claim: Claim) -> None:
        """Touch a claim from now on."""
        self._claims[claim.token] = claim

    def drop(self, claim: Claim) -> None:
        """Release a claim."""
        self._claims.pop(claim.token, None)
        claim.release()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            for claim in list(self._claims.values()):
                claim.touch()


@cache
def host_id() -> str:
    """Return the scope in which a pid is unique: host name, boot id and pid namespace."""
    parts = [platform.node() or "unknown"]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def process_start(pid: int) -> str:
    """Return the start time of a process of this machine; empty if it does not exist or is dead."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may contain any text; state and start time follow it.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _has_live_holder(file: Path) -> bool:
    """Whether the holder of a claim is alive."""
    holder = _read_holder(file)
    if holder is not None and holder.place == host_id():
        return bool(holder.started) and process_start(holder.pid) == holder.started
    with suppress(FileNotFoundError):
        return _disk_time(file.parent) - file.stat().st_mtime < STALE_S
    return False


def _disk_time(folder: Path) -> float:
    """Return the current time by the clock that dates the files of a folder."""
    probe = folder / f".now.{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


def _read_holder(file: Path) -> Holder | None:
    try:
        return read_fields(file, Holder)
    except (OSError, ValueError):
        return None
