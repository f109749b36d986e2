"""Looking at counts in a browser, and correcting them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.counting.annotator_agreement import Agreement
    from cellbench.counting.view_server import ViewServer


def view(
    counts: str | Path = "counts",
    *,
    annotator: str = "",
    pictures: str | Path | None = None,
    port: int = 0,
    ready: "Callable[[ViewServer], None]" = lambda server: None,
) -> None:
    """Open the pictures of a count in the browser, and correct the count there.

    COUNTS is the folder that `cellbench count` wrote. A click adds a cell or takes one away; what
    was changed is kept in COUNTS/corrected.csv at once, beside the method's own tables. The page is
    served on this machine alone, under an address that nobody else can guess.

    Args:
        counts: the counted folder.
        annotator: name of one of several people, whose changes are kept apart, in
            corrected-NAME.csv.
        pictures: folder that holds the pictures, if they are no longer where they were counted.
        port: of the server; any that is free by default.
        ready: called with the server before it begins to answer.

    Raises:
        UserError: the folder holds no counts, a file in it is damaged, or another viewer of the
            same annotator is open.
    """
    from cellbench.counting.corrections import log_name
    from cellbench.counting.counted_folder import read_counted
    from cellbench.counting.view_server import ViewServer
    from cellbench.counting.view_session import ViewSession
    from cellbench.errors import UserError
    from cellbench.files.locks import Busy, locked
    from cellbench.files.writing import writing

    folder = Path(counts)
    counted = read_counted(folder)
    name = log_name(annotator)
    try:
        with writing(folder / name, elsewhere="--out of count"):
            lock = locked(folder / f".{name}.lock", wait=False)
            lock.__enter__()
    except Busy as busy:
        raise UserError(
            f"Another viewer of {folder} is open; close it, or give your changes a name with "
            f"--annotator{busy.hint}."
        ) from None
    try:
        session = ViewSession(
            counted, annotator=annotator, pictures=None if pictures is None else Path(pictures)
        )
        with ViewServer(session, port=port) as server:
            ready(server)
            server.serve_forever()
    finally:
        lock.__exit__(None, None, None)


def count_agreement(counts: str | Path = "counts") -> "Agreement":
    """Compare the method of a counted folder and all who corrected its counts.

    Args:
        counts: the counted folder.

    Raises:
        UserError: the folder holds no counts, or a file in it is damaged.
    """
    from cellbench.counting.annotator_agreement import agreement
    from cellbench.counting.corrections import CorrectionLog, annotators_of
    from cellbench.counting.counted_folder import read_counted

    folder = Path(counts)
    logs = {name or "corrected": CorrectionLog.open(folder, name) for name in annotators_of(folder)}
    return agreement(read_counted(folder), logs)
