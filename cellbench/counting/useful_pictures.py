"""Order of counted pictures for annotation: those with the least consistent counts first.

Cells look the same in all eight orientations of a picture, so that a count that changes when the
picture is rotated or mirrored is unreliable. Pictures are ordered by the standard deviation of the
eight counts, relative to their mean. If the method counts the same in all orientations, or is not
available, they are ordered by the width of the intervals, relative to the count.
"""

import csv
import io
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.corrected_set import picture_file
from cellbench.counting.count_rows import csv_lines
from cellbench.counting.counted_folder import CountedFolder, CountedPicture
from cellbench.data.large import LargePicture, open_picture
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.limits import FILE
from cellbench.files.reading import read_file
from cellbench.files.writing import sha256_file, write_atomically
from cellbench.records.kept_models import kept_models
from cellbench.records.trained_runs import TrainedRun, find_trained

USEFUL = "useful.csv"
BY_VIEWS, BY_INTERVALS = "disagreement of views", "width of intervals"

_HEAD = ("image", "disagreement", "sha256", "run_id")
# Smaller disagreements are rounding errors of sums.
_ROUNDING = 1e-3

Count = Callable[[NDArray[np.uint8], str], float]
"""Function that counts the cells of (H, W, 3) uint8 pixels; it takes a name for messages too."""


@dataclass(frozen=True)
class UsefulOrder:
    """Pictures in the order in which to annotate them.

    Attributes:
        counted: the folder with its pictures in that order; checked ones are last.
        by: BY_VIEWS or BY_INTERVALS.
        values: disagreement or relative width by picture name; without pictures that have none.
    """

    counted: CountedFolder
    by: str
    values: Mapping[str, float]


def view_disagreement(count: Count, pixels: NDArray[np.uint8], name: str = "") -> float:
    """Compute the disagreement of the counts of a picture's eight orientations.

    Args:
        count: the method.
        pixels: (H, W, 3) uint8.
        name: name of the picture, for messages.

    Returns:
        Standard deviation of the counts divided by their mean, or by 1 if the mean is less.
    """
    counts = [
        count(np.ascontiguousarray(np.rot90(side, turns)), name)
        for side in (pixels, pixels[:, ::-1])
        for turns in range(4)
    ]
    return float(np.std(counts) / max(float(np.mean(counts)), 1.0))


def order_by_use(
    counted: CountedFolder,
    *,
    checked: Collection[str] = (),
    load: Callable[[], Count | None] = lambda: None,
    place_of: Callable[[CountedPicture], Path] = picture_file,
    display: Display | None = None,
) -> UsefulOrder:
    """Order the pictures of a count by how useful their annotation is.

    Disagreements are saved in `useful.csv` after each picture and reused by later calls.

    Args:
        counted: the folder.
        checked: names of pictures that were checked.
        load: returns the method that counted; None if it is not available.
        place_of: returns the path of a picture.
        display: where progress is shown.

    Raises:
        UserError: neither the method nor intervals can order the pictures, or the folder cannot be
            written.
    """
    show = display or Display()
    known = _read(counted)
    open_ones = [picture for picture in counted.pictures if picture.name not in checked]
    missing = [picture for picture in open_ones if picture.name not in known]
    count = load() if missing else None
    if count is not None:
        with show.task("comparing views", len(missing)) as advance:
            for picture in missing:
                try:
                    known[picture.name] = _of_picture(counted, picture, place_of(picture), count)
                    _write(counted, known)
                except UserError as error:
                    show.say(f"{picture.name} comes last: {error}")
                advance(1.0)
    found = {p.name: known[p.name] for p in open_ones if p.name in known}
    by = BY_VIEWS
    if not found or max(found.values()) < _ROUNDING:
        reason = "counts the same in all orientations" if found else "is not at hand"
        by, found = BY_INTERVALS, _widths(open_ones)
        if open_ones and not found:
            raise UserError(
                f"The pictures of {counted.folder} cannot be ordered by use: the method {reason}, "
                "and its counts have no intervals; name the run that counted with --with."
            )
        if open_ones:
            show.say(f"The method {reason}; the order is by the width of its intervals.")

    def rank(picture: CountedPicture) -> tuple[bool, bool, float]:
        return picture.name in checked, picture.name not in found, -found.get(picture.name, 0.0)

    ordered = tuple(sorted(counted.pictures, key=rank))
    return UsefulOrder(replace(counted, pictures=ordered), by, found)


def find_counter(counted: CountedFolder, named: str | None = None) -> TrainedRun | None:
    """Find the run that counted a folder.

    Args:
        counted: the folder.
        named: run given by the user, as `count --with` takes it; None to search the kept models
            and the working store.

    Returns:
        The run; None if none was given and it is not found.

    Raises:
        UserError: the given run is missing, or is not the one that counted.
    """
    if named is not None:
        run = find_trained(named, None)
        if run.record["run_id"] != counted.run_id:
            raise UserError(
                f"{counted.folder} was counted by the run {counted.run_id[:16] or 'of no id'}, and "
                f"{named} is {run.record['run_id'][:16]}; name the one that counted."
            )
        return run
    places = [str(model.folder) for model in kept_models()]
    for place in (*places, counted.run_id):
        with suppress(UserError):
            run = find_trained(place, None)
            if run.record["run_id"] == counted.run_id:
                return run
    return None


def counter_of(
    counted: CountedFolder, named: str | None = None, *, device: str = "auto"
) -> Count | None:
    """Load the method that counted a folder, as a function of pixels; see `find_counter`.

    Args:
        counted: the folder.
        named: its run.
        device: "auto", "cpu", "cuda", ...

    Returns:
        The function; None if the run is not found.

    Raises:
        UserError: see `find_counter`; or the method cannot be loaded.
    """
    run = find_counter(counted, named)
    if run is None:
        return None
    from cellbench.counting.trained_counter import load_counter

    counter = load_counter(run, device=device)
    return lambda pixels, name: counter.count(pixels, scale=counted.scale, name=name).count


def _of_picture(counted: CountedFolder, picture: CountedPicture, path: Path, count: Count) -> float:
    if not path.is_file() or sha256_file(path) != picture.sha256:
        raise UserError(f"{path} is gone or has changed since it was counted.")
    pixels = open_picture(path, counted.reading).pixels
    if isinstance(pixels, LargePicture):
        pixels.close()
        raise UserError("it is read in tiles, and cannot be turned.")
    return view_disagreement(count, pixels, picture.name)


def _widths(pictures: Collection[CountedPicture]) -> dict[str, float]:
    """Return the width of each interval divided by the count, or by 1 if the count is less."""
    return {
        picture.name: (picture.interval[1] - picture.interval[0]) / max(picture.count, 1.0)
        for picture in pictures
        if picture.interval is not None
    }


def _read(counted: CountedFolder) -> dict[str, float]:
    """Read the saved disagreements of the same pictures and run, up to a damaged row."""
    wanted = {p.name: (p.sha256, counted.run_id) for p in counted.pictures}
    found: dict[str, float] = {}
    with suppress(OSError, UnicodeDecodeError, csv.Error, ValueError):
        text = read_file(counted.folder / USEFUL, most=FILE.size).decode("utf-8")
        for line in csv.DictReader(io.StringIO(text, newline="")):
            value = float(line.get("disagreement") or "nan")
            key = (line.get("sha256"), line.get("run_id"))
            if wanted.get(line.get("image", "")) == key and 0 <= value < np.inf:
                found[line["image"]] = value
    return found


def _write(counted: CountedFolder, values: Mapping[str, float]) -> None:
    rows = [
        (p.name, f"{values[p.name]:.6f}", p.sha256, counted.run_id)
        for p in counted.pictures
        if p.name in values
    ]
    write_atomically(counted.folder / USEFUL, csv_lines([_HEAD, *rows]), elsewhere="--out of count")
