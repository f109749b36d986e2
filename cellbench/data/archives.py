"""Safe unpacking of untrusted zip and tar archives."""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from cellbench.errors import UserError

MAX_BYTES = 4 * 2**30
MAX_FILES = 100_000

# Images hardly compress and dot masks compress a lot, but a whole data set never a hundredfold.
_MAX_RATIO = 100
_RATIO_FREE_BYTES = 64 * 2**20
_CHUNK = 2**20
_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, ValueError, struct.error, IndexError, KeyError, AttributeError, OverflowError,
    TypeError, MemoryError, RecursionError,
)  # fmt: skip


@dataclass(slots=True)
class _Member:
    """File inside an archive: its validated relative name and its bytes."""

    name: str
    stream: BinaryIO


@dataclass(slots=True)
class _Guard:
    """Limits on the files and bytes that an archive declares and unpacks to."""

    archive: Path
    max_bytes: int
    max_files: int
    files: int = 0
    declared: int = 0
    written: int = 0
    names: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def refuse(self, why: str) -> UserError:
        """Return the error to raise for this archive."""
        return UserError(
            f"The archive {self.archive} was not unpacked because it {why}; "
            "get it from its authors, or unpack it yourself and import the folder."
        )

    def admit(self, name: str, size: int) -> str | None:
        """Validate the next file and return its safe relative name; None for a system file."""
        self.files += 1
        if self.files > self.max_files:
            raise self.refuse(f"holds more than {self.max_files} files")
        self.declared += size
        self._check_total(self.declared)
        parts = self._safe_parts(name)
        if parts[0] == "__MACOSX" or parts[-1] in {".DS_Store", "Thumbs.db", "desktop.ini"}:
            return None
        # Case and accents are folded: names that differ may be one file on another disk.
        keys = [unicodedata.normalize("NFC", "/".join(parts[: i + 1])).casefold()
                for i in range(len(parts))]  # fmt: skip
        if keys[-1] in self.names or keys[-1] in self.folders or self.names & set(keys[:-1]):
            raise self.refuse(f"holds {name!r} twice")
        self.names.add(keys[-1])
        self.folders.update(keys[:-1])
        return "/".join(parts)

    def count_written(self, count: int) -> None:
        """Count unpacked bytes against the limits."""
        self.written += count
        self._check_total(self.written)

    def check_name(self, name: str) -> None:
        """Reject a folder's name that leads outside."""
        self._safe_parts(name)

    def _check_total(self, total: int) -> None:
        if total > self.max_bytes:
            raise self.refuse(f"unpacks to more than {self.max_bytes / 1e6:.0f} MB")
        packed = max(self.archive.stat().st_size, 1)
        if total > _RATIO_FREE_BYTES and total > _MAX_RATIO * packed:
            raise self.refuse(f"unpacks to more than {_MAX_RATIO} times its size")

    def _safe_parts(self, name: str) -> list[str]:
        if any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
            raise self.refuse(f"holds a file with a control character in its name, {name!r}")
        path = name.replace("\\", "/")
        parts = [part for part in path.split("/") if part not in {"", "."}]
        climbs = ".." in parts or path.startswith("/")
        if climbs or any(re.match(r"[A-Za-z]:", part) for part in parts):
            raise self.refuse(f"holds {name!r}, which would be written outside the folder")
        if not parts:
            raise self.refuse("holds a file without a name")
        return parts


def unpack(
    archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> list[Path]:
    """Unpack a zip or a (compressed) tar completely, or not at all.

    Links, devices, encrypted files, repeated names, names that lead outside and archives that
    unpack to too much are rejected. Folders of macOS (`__MACOSX`) are skipped. The target appears
    under its name only when all is written: an interrupted call leaves a hidden sibling, which
    the next one removes.

    Args:
        archive: the file; its kind is read from its content.
        target: the folder to create; its parent is created too.
        max_bytes: of all files together.
        max_files: including those skipped.

    Returns:
        The files below `target`, sorted.

    Raises:
        UserError: the archive is unsafe, damaged, empty or of another kind, the target exists
            or the disk is full.
    """
    guard = _Guard(archive, max_bytes, max_files)
    if target.is_symlink() or (target.exists() and (target.is_file() or any(target.iterdir()))):
        raise UserError(f"The folder {target} exists already; remove it or name another one.")
    staging = target.parent / f".{target.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        names = [_write(member, staging, guard) for member in _members(archive, guard)]
        if not names:
            raise guard.refuse("holds no files")
        if target.exists():
            target.rmdir()
        staging.replace(target)
    except _DAMAGE as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"The archive {archive} is damaged or cut short ({detail}); download it again."
        ) from error
    except OSError as error:
        raise UserError(
            f"The archive {archive} could not be unpacked to {target} "
            f"({error.strerror or error}); free some space or name another folder."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(target / name for name in names)


def _write(member: _Member, folder: Path, guard: _Guard) -> str:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.stream, path.open("xb") as out:
        while chunk := member.stream.read(_CHUNK):
            guard.count_written(len(chunk))
            out.write(chunk)
    return member.name


def _members(archive: Path, guard: _Guard) -> Iterator[_Member]:
    """Yield the validated files of an archive, whose kind is read from its first bytes."""
    with archive.open("rb") as file:
        head = file.read(512)
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        yield from _zip_members(archive, guard)
        return
    is_plain_tar = head[257:262] == b"ustar"
    openers = [opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)]
    if not openers and not is_plain_tar:
        page = head.lstrip()[:1] == b"<"
        what = "a web page (of a login, perhaps)" if page else "neither a zip nor a tar"
        raise UserError(f"The file {archive} is {what} and no archive; download it again.")
    with openers[0](archive, "rb") if openers else archive.open("rb") as stream:
        yield from _tar_members(stream, guard)


def _zip_members(archive: Path, guard: _Guard) -> Iterator[_Member]:
    _check_zip_directory(archive, guard)
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if sum(info.compress_size for info in infos) > archive.stat().st_size:
            raise guard.refuse("claims the same bytes for several files")
        admitted = []
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise guard.refuse(f"holds the link or device {info.filename!r}")
            if info.flag_bits & 0x1:
                raise guard.refuse(f"holds the encrypted file {info.filename!r}")
            if info.orig_filename.endswith("/"):
                guard.check_name(info.orig_filename)
            elif name := guard.admit(info.orig_filename, info.file_size):
                admitted.append((name, info))
        # Every name is checked before the first byte is written.
        for name, info in admitted:
            yield _Member(name, cast(BinaryIO, opened.open(info)))


def _check_zip_directory(archive: Path, guard: _Guard) -> None:
    """Reject a table of contents that alone would fill the memory."""
    size = archive.stat().st_size
    with archive.open("rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return  # ZipFile reports the damage.
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length == 0xFFFFFFFF:  # zip64: its own end record lies before the locator
        start = tail.rfind(b"PK\x06\x06", 0, at)
        (length,) = struct.unpack_from("<Q", tail, start + 40) if start >= 0 else (size,)
    if min(length, size) > 1024 * guard.max_files:
        raise guard.refuse(f"holds more than {guard.max_files} files")


class _ShortReads:
    """Stream with a limit on the size of one read.

    tarfile reads an extended header whole, with the length that the archive declares.
    """

    def __init__(self, stream: BinaryIO, guard: _Guard) -> None:
        self.stream, self.guard = stream, guard

    def read(self, size: int) -> bytes:
        if size > 2 * _CHUNK:
            raise self.guard.refuse("has a header of many megabytes")
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()


def _tar_members(stream: BinaryIO, guard: _Guard) -> Iterator[_Member]:
    limited = cast(BinaryIO, _ShortReads(stream, guard))
    with tarfile.TarFile(fileobj=limited) as opened:
        for info in opened:
            if info.isdir():
                guard.check_name(info.name)
                continue
            if not info.isreg() or info.issparse():
                raise guard.refuse(f"holds the link or device {info.name!r}")
            name = guard.admit(info.name, info.size)
            content = opened.extractfile(info) if name else None
            if name and content is not None:
                yield _Member(name, cast(BinaryIO, content))
    # Read to the end: the checksum of the compression comes last, after the padding.
    padding = 0
    while chunk := stream.read(_CHUNK):
        padding += len(chunk)
        if padding > 16 * _CHUNK:
            raise guard.refuse("goes on for many megabytes after its end")
