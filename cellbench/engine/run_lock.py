"""One process a folder."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cellbench.errors import UserError
from cellbench.files.locks import HELD, Busy, locked


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


def start_over(folder: Path) -> None:
    """Forget what an interrupted run left, but for its lock and the steps just fixed."""
    for path in folder.iterdir():
        if path.name in ("lock", f"lock{HELD}", "plan.json"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
