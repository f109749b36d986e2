"""Pictures that people annotated, counted by a method that was not trained on them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbench.counting.experiment_means import KnownPicture
from cellbench.data.large import LargePicture, open_picture
from cellbench.data.reader import ReadOptions
from cellbench.data.stored_set import StoredSet, open_set
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.records.expected_error import NOT_HELD_OUT
from cellbench.records.trained_runs import TrainedRun

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter


def count_annotated(
    name: str,
    run: TrainedRun,
    load: "Callable[[], TrainedCounter]",
    *,
    scale: float,
    display: Display,
) -> list[KnownPicture]:
    """Count the annotated pictures of a set.

    Args:
        name: of the set, on disk.
        run: that counts; of the set that it was trained on its test part alone is taken, since on
            the other images its errors are too small.
        load: makes its counter.
        scale: px that a cell should have per px that it has, as for the other pictures.
        display: where progress is shown.

    Raises:
        UserError: the set is not on disk, or none of its images can be taken.
    """
    stored = open_set(name)
    ids = stored.ids
    if run.record["dataset"] == stored.name:
        held_out = run.record["protocol"] not in NOT_HELD_OUT
        tested = {image["id"] for image in run.record["images"] if held_out}
        ids = [image_id for image_id in ids if image_id in tested]
        if not ids:
            raise UserError(
                f"{run.record['method']} was trained on the images of {stored.name}, so that they "
                "show too little of its error; name pictures that it was not trained on with "
                "--annotated."
            )
    counter = load()
    known = []
    with display.task(f"counting {stored.name}", len(ids)) as advance:
        for image_id in ids:
            found = counter.count(stored.pixels(image_id), scale=scale, name=image_id)
            known.append(KnownPicture(image_id, stored.entry(image_id).count, found.count))
            advance(1)
    return known


def also_annotated(
    files: Mapping[str, Path], sizes: Mapping[str, tuple[int, int]], name: str, reading: ReadOptions
) -> set[str]:
    """Which counted pictures are pictures of an annotated set, by name and every pixel.

    Those that the method was trained on are among them: their counts say nothing of others'.

    Args:
        files: counted pictures by name.
        sizes: (width, height) of each, px.
        name: of the set.
        reading: how the pictures are read.
    """
    stored = open_set(name)
    by_stem: dict[str, list[str]] = {}
    for image_id in stored.ids:
        by_stem.setdefault(_last(image_id), []).append(image_id)
    return {
        shown
        for shown, path in files.items()
        if any(
            stored.entry(image_id).size == sizes[shown] and _same(stored, image_id, path, reading)
            for image_id in by_stem.get(_last(path.stem), ())
        )
    }


def _last(name: str) -> str:
    """The end of a name: an id may begin with the folders that a picture was in."""
    return name.casefold()[-12:]


def _same(stored: StoredSet, image_id: str, path: Path, reading: ReadOptions) -> bool:
    try:
        pixels = open_picture(path, reading).pixels
    except UserError:  # it was counted before and is gone
        return False
    return not isinstance(pixels, LargePicture) and np.array_equal(pixels, stored.pixels(image_id))
