"""Who is at a run: one file a run, so that two sweeps over one store never do the same one.

A claim is made by linking a finished file to its name, which one of several processes succeeds
in, on network disks too; a disk without hard links makes the file under its name, if none is
there. It says which process of which machine holds it. On that machine it is
stale as soon as the process is gone; seen from another one, when it has not been touched for
`STALE_S`. The time that counts is that of the disk, not of the machines.
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
from cellbench.files.writing import only_writer, sync, writing

HEARTBEAT_S = 15.0
STALE_S = 120.0

_NAME = "claim.json"
_UNFINISHED = f".{_NAME}."

# How a file system answers that it has no hard links.
_NO_LINKS = frozenset(
    (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS, errno.EMLINK)
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a claim.

    Attributes:
        place: machine, its start and its process numbering: within one place a pid says all.
        pid: of the process.
        started: when the process began, as its system puts it; a pid is used again.
        token: of this claim.
    """

    place: str
    pid: int
    started: str
    token: str

    @property
    def host(self) -> str:
        """The name of the machine, for people."""
        return self.place.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this process holds."""

    file: Path
    token: str

    def touch(self) -> None:
        """Say that the holder lives."""
        with suppress(OSError):
            os.utime(self.file)

    def release(self) -> None:
        """Give the run back; nothing happens if somebody has taken it over."""
        holder = _read(self.file)
        if holder is not None and holder.token == self.token:
            self.file.unlink(missing_ok=True)


def take_claim(folder: Path) -> Claim | None:
    """Claim the run of a folder, or recover it from a holder that is gone.

    Returns:
        None if somebody else is at it.

    Raises:
        UserError: the folder cannot be written.
    """
    file = folder / _NAME
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # The lock keeps two recoveries apart; the link alone keeps two claims apart.
    with only_writer(folder, "claim"), writing(file):
        _remove_abandoned(folder)
        if file.exists():
            return None
        holder = Holder(host_id(), os.getpid(), process_start(os.getpid()), secrets.token_hex(8))
        if not _put(file, json.dumps(asdict(holder)), holder.token):
            return None
    return Claim(file, holder.token)


def _put(file: Path, text: str, token: str) -> bool:
    """Give a claim its name, which one of several processes succeeds in."""
    finished = file.with_name(f"{_UNFINISHED}{token}")
    finished.write_text(text)
    try:
        os.link(finished, file)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _make(file, text)
    finally:
        finished.unlink(missing_ok=True)
    return True


def _make(file: Path, text: str) -> bool:
    """As `_put` on a disk without hard links: a reader may find the file before its content."""
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
    """Who is at the run of a folder; None if nobody is, or the holder is gone."""
    file = folder / _NAME
    try:
        return _read(file) if file.exists() and _holds(file) else None
    except OSError:
        return None


def remove_stale(folder: Path) -> None:
    """Remove the claim on a run that a killed process left; one that is held stays."""
    if _files(folder):
        with suppress(UserError, OSError), only_writer(folder, "claim"):
            _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed process left: its claim, and one that it had not yet given its name."""
    for file in _files(folder):
        if not _holds(file):
            file.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """The claim on a run, and claims that are being made or were never finished."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    return [folder / name for name in names if name == _NAME or name.startswith(_UNFINISHED)]


class Heartbeat:
    """Touches the claims that this process holds until it ends."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="claims")

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Release what is still held."""
        self._over.set()
        for claim in list(self._claims.values()):
            self.drop(claim)

    def hold(self, claim: Claim) -> None:
        """Keep a claim alive."""
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
    """The scope in which a pid is unique: host, boot and namespace."""
    parts = [platform.node() or "unknown"]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def process_start(pid: int) -> str:
    """When a process of this machine began; empty if there is none, or it is dead already."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold anything; state and start time follow it.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _holds(file: Path) -> bool:
    """Whether the holder of a claim lives."""
    holder = _read(file)
    if holder is not None and holder.place == host_id():
        return bool(holder.started) and process_start(holder.pid) == holder.started
    with suppress(FileNotFoundError):
        return _now(file.parent) - file.stat().st_mtime < STALE_S
    return False


def _now(folder: Path) -> float:
    """The time by the clock that dates the files of a folder."""
    probe = folder / f".now.{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


def _read(file: Path) -> Holder | None:
    try:
        return read_fields(file, Holder)
    except (OSError, ValueError):
        return None
