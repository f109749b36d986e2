"""`cellbench.view`: show and correct counts in a browser; agreement of annotators."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.counting.annotator_agreement import Agreement
    from cellbench.counting.view_server import ViewServer
    from cellbench.engine.work_progress import Display


def view(
    counts: str | Path = "counts",
    *,
    annotator: str = "",
    pictures: str | Path | None = None,
    port: int = 0,
    next_useful: bool = False,
    run: str | None = None,
    device: str = "auto",
    display: "Display | None" = None,
    ready: "Callable[[ViewServer], None]" = lambda server: None,
) -> None:
    """Open the pictures of a count in the browser, and correct the count there.

    COUNTS is the folder that `cellbench count` wrote. A click adds a cell or takes one away; what
    was changed is kept in COUNTS/corrected.csv at once, beside the method's own tables, and the
    corrected counts in COUNTS/counts-corrected.csv. The page is served on this machine alone, under
    an address that nobody else can guess.

    Args:
        counts: the counted folder.
        annotator: name of one of several people, whose changes are kept apart, in
            corrected-NAME.csv and counts-corrected-NAME.csv.
        pictures: folder that holds the pictures, if they are no longer where they were counted.
        port: port of the server; any free one by default.
        next_useful: show first the pictures whose annotation should help the method most: those
            whose counts differ most when they are turned and mirrored. They are counted eight
            times more for that, before the page opens; what was found is kept in COUNTS/useful.csv.
            Where the method is not at hand, or counts the same in all orientations, those with the
            widest intervals come first.
        run: the run that counted, for --next-useful, if it is neither a kept model nor in the
            working store.
        device: for --next-useful: one of auto, cpu, cuda or cuda:N.
        display: where progress is shown.
        ready: called with the server before it begins to answer.

    Raises:
        UserError: the folder holds no counts, a file in it is damaged, there is no such folder of
            pictures, or another viewer of the same annotator is open.
    """
    from cellbench.counting.corrections import CorrectionLog, log_name
    from cellbench.counting.counted_folder import read_counted
    from cellbench.counting.view_server import ViewServer
    from cellbench.counting.view_session import ViewSession
    from cellbench.errors import UserError
    from cellbench.files.locks import Busy, locked
    from cellbench.files.writing import explained_writing

    if pictures is not None and not (str(pictures) and Path(pictures).is_dir()):
        raise UserError(
            f"There is no folder {str(pictures)!r}; name the one of the pictures with --pictures."
        )
    folder = Path(counts)
    counted = read_counted(folder)
    name = log_name(annotator)
    with ExitStack() as stack:
        try:
            with explained_writing(folder / name, elsewhere="--out of count"):
                stack.enter_context(locked(folder / f".{name}.lock", wait=False))
        except Busy as busy:
            raise UserError(
                f"Another viewer of {folder} is open; close it, or give your changes a name with "
                f"--annotator{busy.hint}."
            ) from None
        place, shown, order = None if pictures is None else Path(pictures), counted, ""
        if next_useful:
            from cellbench.counting.corrected_set import moved_file
            from cellbench.counting.useful_pictures import counter_of, order_by_use

            found = order_by_use(
                counted,
                checked=CorrectionLog.open(folder, annotator, counted.hashes).changes.keys(),
                load=lambda: counter_of(counted, run, device=device),
                place_of=lambda picture: moved_file(picture, place),
                display=display,
            )
            shown, order = found.counted, found.by
        session = ViewSession(
            shown, annotator=annotator, pictures=place, ordered_by=order, table=counted
        )
        if session.outdated and display is not None:
            display.say(
                f"{session.outdated} pictures have changed since they were corrected: their "
                "corrections are kept, and do not hold for what is there now."
            )
        # Older versions wrote no tables, and pictures may have been counted again since.
        session.write_tables()
        if session.unwritten and display is not None:
            display.say(session.unwritten)
        with ViewServer(session, port=port) as server:
            ready(server)
            server.serve_forever()


def count_agreement(counts: str | Path = "counts") -> "Agreement":
    """Compute the agreement of the method and all annotators of a counted folder.

    Args:
        counts: the counted folder.

    Raises:
        UserError: the folder holds no counts, or a file in it is damaged.
    """
    from cellbench.counting.annotator_agreement import agreement, open_logs
    from cellbench.counting.counted_folder import read_counted

    counted = read_counted(Path(counts))
    return agreement(counted, open_logs(counted))
