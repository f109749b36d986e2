"""Run cellbench and kill it, as a power cut would, just before one of its writes.

    python killed.py NUMBER FOLDERS REPORT ARGUMENTS...

Writes are what Python opens for writing, renames, links, makes or removes in FOLDERS (parted by
`os.pathsep`); 0 kills nothing. How many writes there were is in REPORT if the process ends by
itself.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

CHANGES = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.utime", "os.chmod",
}  # fmt: skip


def main() -> None:
    """Count writes, and kill at one."""
    number, folders, report = int(sys.argv[1]), sys.argv[2].split(os.pathsep), Path(sys.argv[3])
    seen, lock = 0, threading.Lock()

    def writes(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return False
        elif event in CHANGES:
            path = arguments[0]
        else:
            return False
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a descriptor: its file was opened before
        return os.fsdecode(path).startswith(tuple(folders))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if writes(event, arguments):
            with lock:
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    from cellbench.cli.main import main as cellbench

    sys.argv = ["cellbench", *sys.argv[4:]]
    try:
        cellbench()
    finally:
        report.write_text(str(seen))


if __name__ == "__main__":
    main()
