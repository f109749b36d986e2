"""`cellbench count`: cells in pictures of one's own, with a method that a run has trained."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellbench.cli.limits import max_file, max_picture
from cellbench.counting.point_exports import WRITERS
from cellbench.errors import UserError
from cellbench.files.limits import FILE

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.counting.trained_counter import TrainedCounter
    from cellbench.records.trained_runs import TrainedRun


@click.command()
@click.argument("pictures", nargs=-1, metavar="PICTURE...")
@click.option(
    "--with", "named", metavar="RUN", help="A finished run: its folder, its record or its id."
)
@click.option(
    "--out", default="counts", show_default=True, metavar="DIR", help="Folder of the tables."
)
@click.option(
    "--scale",
    type=click.FloatRange(0.05, 20.0),
    default=1.0,
    show_default=True,
    help="2 where your cells are half as wide, in px, as those the run was trained on.",
)
@click.option(
    "--um-per-px",
    type=click.FloatRange(0, min_open=True),
    help="Edge of a pixel in micrometres: adds cells a square millimetre.",
)
@click.option("--no-pictures", is_flag=True, help="Mark no cells in pictures.")
@click.option(
    "--also",
    type=click.Choice(list(WRITERS)),
    multiple=True,
    help="Also a file of points a picture for this program; may be repeated.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@max_picture
@max_file
@click.option(
    "--trust-weights", is_flag=True, help="Count with weights that are not the ones of the record."
)
@click.option("--store", metavar="DIR", help="Folder of runs/; the record's or the working one.")
def command(
    pictures: tuple[str, ...],
    named: str | None,
    out: str,
    scale: float,
    um_per_px: float | None,
    no_pictures: bool,
    also: tuple[str, ...],
    device: str,
    trust_weights: bool,
    store: str | None,
) -> None:
    """Count the cells in PICTUREs, files or folders of them, with a run's method.

    Writes counts.csv (a line a picture), points.csv (a line a cell) and pictures with the cells
    marked. What is counted already is not counted again.
    """
    from rich.console import Console

    from cellbench.counting.count_tables import COUNTS, CountTables, shown_name
    from cellbench.counting.folder_count import CountWork, Exporter, show_counts
    from cellbench.engine.run_lock import hold
    from cellbench.files.writing import sha256_file
    from cellbench.records.trained_runs import find_trained

    files = {shown_name(path): path for path in _files(pictures)}
    run = find_trained(_chosen(named, store), store)
    refused: list[str] = []
    hashes: dict[str, str] = {}
    for name, path in files.items():
        try:
            hashes[name] = sha256_file(path)
        except OSError as error:
            mend = FILE.mend if error.errno == errno.EFBIG else "see its rights"
            refused.append(f"{name} cannot be opened ({error.strerror}); {mend}.")
    folder = Path(out)
    console = Console(highlight=False)
    # A run that is refused leaves no tables behind; those that are there may need no counting.
    counter = None
    if hashes and not (folder / COUNTS).exists():
        counter = _load(run, device, trust_weights, console)
    busy = f"Another process is counting into {folder}; wait for it, or name another --out."
    with hold(folder, elsewhere="--out", busy=busy):
        method = _method(run, scale, um_per_px, trust_weights)
        tables = CountTables(folder, method, hashes)
        left = [(name, files[name], hashes[name]) for name in hashes if name not in tables.done]
        beside = Exporter(folder, pictures=not no_pictures, programs=also)
        beside.write_missing(tables, {name: files[name] for name in hashes if name in tables.done})
        if left:
            counter = counter or _load(run, device, trust_weights, console)
            work = CountWork(counter, tables, beside, scale=scale, um_per_px=um_per_px)
            refused += work.all(left, console)
        show_counts(
            console, [tables.done[name] for name in files if name in tables.done], run, folder
        )
    if refused:
        raise UserError(
            f"{len(refused)} of {len(files)} pictures could not be counted; what was counted is "
            f"in {folder}. The first: {refused[0]}"
        )


def _files(named: Sequence[str]) -> list[Path]:
    """The pictures that a user means, each once, folders in the order of their files' names."""
    from cellbench.data.images import SUFFIXES, is_named_as_picture

    found: dict[Path, Path] = {}
    for text in named:
        place = Path(text)
        if place.is_dir():
            try:
                inside = sorted(filter(is_named_as_picture, place.iterdir()))
            except OSError as error:
                raise UserError(
                    f"The folder {place} cannot be opened ({error.strerror}); see its rights."
                ) from None
            if not inside:
                raise UserError(
                    f"{place} holds no picture ({', '.join(sorted(SUFFIXES))}); name a folder that "
                    "does: folders in it are not looked through."
                )
        elif place.is_file():
            inside = [place]
        elif place.exists():
            raise UserError(f"{text!r} is neither a picture nor a folder; name one of these.")
        else:
            raise UserError(f"There is no picture or folder {text!r}.")
        for path in inside:
            # Unlike Path.resolve, this takes links that lead in a circle.
            found.setdefault(Path(os.path.realpath(path)), path)
    if not found:
        raise UserError(
            "Name pictures or a folder of them: cellbench count photos/ --with runs/adi/<run>."
        )
    return list(found.values())


def _chosen(named: str | None, store: str | None) -> str:
    """The run that a user names; without one, a sentence that names those at hand."""
    if named is not None:
        return named
    from cellbench import paths
    from cellbench.records.trained_runs import known_runs

    runs = known_runs(paths.store(store))
    if not runs:
        raise UserError(
            "--with names a finished run, and there is none here yet: cellbench run "
            "configs/dla_adi.py trains one."
        )
    listed = ", ".join(map(str, runs[:3])) + (f" and {len(runs) - 3} more" if runs[3:] else "")
    raise UserError(f"--with names a finished run; at hand are {listed}.")


def _load(
    run: "TrainedRun", device: str, trust_weights: bool, console: "Console"
) -> "TrainedCounter":
    """The run's method with its weights; a sentence where these could not be checked."""
    from cellbench.records.trained_runs import unbound_notice

    with console.status("Loading torch"):
        from cellbench.counting.trained_counter import load_counter
    counter = load_counter(run, device=device, trust_weights=trust_weights)
    if notice := unbound_notice(run.record):
        console.print(notice, markup=False, soft_wrap=True)
    return counter


def _method(
    run: "TrainedRun", scale: float, um_per_px: float | None, trust_weights: bool
) -> dict[str, Any]:
    """What counts, as a folder of counts keeps it; weights on trust have their hash there."""
    from cellbench.files.writing import sha256_file

    record = run.record
    keys = ("run_id", "method", "dataset", "protocol", "split", "seed", "thresholds")
    kept = {key: record[key] for key in keys}
    if trust_weights and sha256_file(run.weights) != run.weights_sha256:
        kept["trusted_weights"] = sha256_file(run.weights)
    return {**kept, "mae": record["metrics"]["mae"], "scale": scale, "um_per_px": um_per_px}
