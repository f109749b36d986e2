"""Cache of results in an SQLite file under the user's home folder, which only saves time.

It can be deleted at any time. A file that is damaged, of another version or too large is deleted
and created anew; on a disk without the locks that SQLite needs nothing is cached. Each entry has a
SHA-256, so that a damaged or edited one is never used.
"""

import errno
import hashlib
import os
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path

from cellbench import paths
from cellbench.files.reading import check_file

MAX_BYTES = 2**30

_TABLE = (
    "CREATE TABLE results (kind TEXT, folder BLOB, name BLOB, stamp TEXT, content BLOB, "
    "sha256 BLOB, PRIMARY KEY (kind, folder, name))"
)
# Time to wait for another process's lock; a disk without locks behaves as if locked.
_WAIT_S = 0.5
# Errors of a sound file: it is in use, or cannot be opened, locked, written or enlarged.
_ELSEWHERE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
}
_ERRORS = (OSError, sqlite3.Error, TypeError, ValueError)
_OPTIONS = ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=OFF", "journal_mode=MEMORY")


def cache_path() -> Path:
    """Return the path of the cache, which need not exist."""
    return paths.home() / "cache" / "results.sqlite3"


def read_results(kind: str, folder: Path) -> dict[str, tuple[str, bytes]]:
    """Read the cached results for the files of a folder.

    Args:
        kind: kind of the results.
        folder: absolute path of the folder.

    Returns:
        Per file its stamp and content, as passed to `write_results`; empty without a usable cache.
    """
    found: dict[str, tuple[str, bytes]] = {}
    where = (kind, os.fsencode(folder))
    try:
        with closing(_open("ro")) as database:
            query = "SELECT name, stamp, content, sha256 FROM results WHERE kind = ? AND folder = ?"
            for name, stamp, content, sha256 in database.execute(query, where):
                if sha256 == _sha256(*where, name, stamp, content):
                    found[os.fsdecode(name)] = stamp, content
    except _ERRORS as error:
        _discard(error)
        return {}
    return found


def write_results(
    kind: str,
    folder: Path,
    changed: Mapping[str, tuple[str, bytes]],
    *,
    keep: Collection[str] = (),
) -> None:
    """Write results to the cache; a disk that cannot be written is no error.

    Args:
        kind: kind of the results.
        folder: absolute path of the folder of the files that they were computed from.
        changed: per file its stamp and content.
        keep: other files of the folder whose results stay; those of all others are deleted.
    """
    where = (kind, os.fsencode(folder))
    names = [os.fsencode(name) for name in changed]
    entries = [
        (*where, name, stamp, content, _sha256(*where, name, stamp, content))
        for name, (stamp, content) in zip(names, changed.values(), strict=True)
    ]
    try:
        with closing(_open("rwc")) as database, database:
            query = "SELECT name FROM results WHERE kind = ? AND folder = ?"
            known = {name for (name,) in database.execute(query, where)}
            gone = known - {*names, *map(os.fsencode, keep)}
            database.executemany(
                "DELETE FROM results WHERE kind = ? AND folder = ? AND name = ?",
                [(*where, name) for name in gone],
            )
            row = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)"
            database.executemany(row, entries)
    except _ERRORS as error:
        _discard(error)


def _open(mode: str) -> sqlite3.Connection:
    """Open the cache, with mode "ro" or "rwc".

    Raises:
        OSError: it is not there, is no regular file, or too large.
        sqlite3.Error: it cannot be opened, or holds anything but the one table.
    """
    path = cache_path()
    if mode == "rwc":
        path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "ro" or path.exists():
        check_file(path, most=MAX_BYTES)
    address = f"{path.absolute().as_uri()}?mode={mode}"
    database = sqlite3.connect(address, uri=True, timeout=_WAIT_S)
    try:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        # Hashes detect what a power cut damages, so no journal is needed.
        for option in _OPTIONS:
            database.execute(f"PRAGMA {option}")
        parts = database.execute("SELECT type, sql FROM sqlite_schema ORDER BY type").fetchmany(3)
        if not parts and mode == "rwc":
            database.execute(_TABLE)
        elif parts != [("index", None), ("table", _TABLE)]:  # a view could run for ever
            raise sqlite3.DatabaseError("it holds other tables")
    except BaseException:
        database.close()
        raise
    return database


def _discard(error: Exception) -> None:
    """Delete the cache if an error shows that the file is damaged or too large."""
    if isinstance(error, OSError):
        unusable = error.errno == errno.EFBIG
    else:
        unusable = getattr(error, "sqlite_errorcode", 0) & 0xFF not in _ELSEWHERE
    if unusable:
        with suppress(OSError):
            cache_path().unlink()


def _sha256(kind: str, folder: bytes, name: bytes, stamp: str, content: bytes) -> bytes:
    key = repr((kind, folder, name, stamp)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(key + content).digest()
