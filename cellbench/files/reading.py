"""Read untrusted files: regular files of limited size, and JSON of limited depth.

Kind and size are checked before the file is opened, and again on the open file: a pipe, a device, a
folder and a sparse file of terabytes are rejected without reading.
"""

import errno
import json
import math
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

MAX_JSON_BYTES = 16 * 2**20
"""Size limit of a JSON file; the largest record of the repository has 28 kB."""

MAX_SMALL_BYTES = 2**20
"""Size limit of the small JSON files by which runs and sweeps communicate."""

MAX_DEPTH = 40
"""Limit of JSON nesting; configs have some 10 levels."""

MAX_INTEGER = 2**63

_Fields = TypeVar("_Fields")

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: str | Path, *, most: int, descriptor: int | None = None) -> os.stat_result:
    """Check that a path is a regular file of limited size, without opening it.

    Args:
        path: path of the file; links are followed.
        most: size limit in bytes.
        descriptor: descriptor of the file if it is open; it is checked instead of the path.

    Returns:
        Status of the file.

    Raises:
        OSError: the file does not exist, is not a regular file (`EINVAL`) or is too large
            (`EFBIG`); `strerror` is a phrase for users.
    """
    try:
        status = os.stat(path if descriptor is None else descriptor)  # noqa: PTH116
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} and no file", str(path))
    if status.st_size > most:
        raise _too_large(path, status.st_size, most)
    return status


def open_file(path: str | Path, *, most: int) -> BufferedReader:
    """Open a regular file of limited size for reading.

    Args:
        path: path of the file; links are followed.
        most: size limit in bytes.

    Raises:
        OSError: see `check_file`; or the file cannot be opened.
    """
    check_file(path, most=most)
    # O_NONBLOCK: opening must not block if the file has become a pipe since the check.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        check_file(path, most=most, descriptor=descriptor)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | Path, *, most: int) -> bytes:
    """Read a regular file of limited size.

    Raises:
        OSError: see `open_file`; or the file cannot be read.
    """
    with open_file(path, most=most) as stream:
        data = stream.read(most + 1)
    if len(data) > most:  # some system files report no size, and files may grow
        raise _too_large(path, len(data), most)
    return data


def read_json(path: str | Path, *, most: int = MAX_JSON_BYTES) -> Any:
    """Read and validate a JSON file, see `parse_json`.

    Raises:
        OSError: see `read_file`.
        ValueError: see `parse_json`.
    """
    return parse_json(read_file(path, most=most))


def read_fields(path: str | Path, kind: type[_Fields]) -> _Fields:
    """Read a dataclass of numbers, strings and None from a JSON object.

    Args:
        path: path of the file.
        kind: the dataclass; a float field also accepts whole numbers.

    Raises:
        OSError: see `read_file`; or the file is larger than `MAX_SMALL_BYTES`.
        ValueError: see `parse_json`; or a field is unknown, missing or of another type.
    """
    document = read_json(path, most=MAX_SMALL_BYTES)
    if type(document) is not dict:
        raise ValueError("it holds no JSON object")
    hints = get_type_hints(kind)
    for name, value in document.items():
        wanted = hints.get(name)
        if wanted is None:
            raise ValueError(f"it has the unknown field {name[:40]!r}")
        allowed = get_args(wanted) or (wanted,)
        if type(value) not in allowed and not (type(value) is int and float in allowed):
            raise ValueError(f"its field {name!r} is {str(value)[:40]!r}")
    try:
        return kind(**document)
    except TypeError as error:
        raise ValueError(str(error)) from None


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8 and validate its depth, numbers and strings.

    Raises:
        ValueError: the data are not JSON, are nested deeper than `MAX_DEPTH`, or hold a number that
            is not finite or beyond 64 bits, or a string that is not valid Unicode.
    """
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    level = [document]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                deeper += value.keys()
                deeper += value.values()
            elif kind is list:
                deeper += value
            elif kind is str:
                if not value.isascii():
                    _check_text(value)
            elif kind is float:
                if not math.isfinite(value):
                    raise ValueError("a number in it is not finite")
            elif kind is int and not -MAX_INTEGER <= value < MAX_INTEGER:
                raise ValueError("a number in it is beyond 64 bits")
        if not deeper:
            return document
        level = deeper
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text in it is no Unicode (half a surrogate pair)") from None


def _too_large(path: str | Path, size: int, most: int) -> OSError:
    return OSError(
        errno.EFBIG, f"it has {megabytes(size)} and at most {megabytes(most)} are read", str(path)
    )


def megabytes(size: int) -> str:
    """Format a size for users, such as "3.2 MB" or "16 GB"."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")
