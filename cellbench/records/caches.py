"""Files that save time alone: whatever is wrong with one, it is read as empty and made anew.

A cache is one JSON object that holds its content and the SHA-256 of it, so that a damaged or
edited one is never taken for what was written.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellbench.errors import UserError
from cellbench.files.reading import read_file
from cellbench.files.writing import write_atomically

MAX_BYTES = 256 * 2**20

_HEAD = b'{"sha256": "%s", "content": '


def read_cache(path: Path) -> Any | None:
    """The content of a cache; None if there is none that was written whole by `write_cache`."""
    try:
        data = read_file(path, most=MAX_BYTES)
        content = data[len(_HEAD % (b"0" * 64)) : -1]
        if data == _sealed(content):
            return json.loads(content)
    except (OSError, ValueError, RecursionError):
        pass
    return None


def write_cache(path: Path, content: Any) -> None:
    """Keep a content that JSON can hold; a disk that cannot be written costs time alone."""
    with suppress(UserError):
        write_atomically(path, _sealed(json.dumps(content).encode("ascii")))


def _sealed(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest().encode("ascii")
    return _HEAD % digest + content + b"}"
