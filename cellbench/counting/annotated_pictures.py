"""Pictures that people annotated, counted by a method that was not trained on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.experiment_means import KnownPicture
from cellbench.data.large import LargePicture, full_size, open_picture
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import AS_THEY_COME, ReadOptions, read_whole
from cellbench.data.stored_set import StoredSet
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.writing import sha256
from cellbench.records.trained_runs import TrainedRun

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter


def count_annotated(
    stored: StoredSet,
    run: TrainedRun,
    load: "Callable[[], TrainedCounter]",
    *,
    judged: Sequence[str],
    scale: float,
    reading: ReadOptions = AS_THEY_COME,
    display: Display,
) -> list[KnownPicture]:
    """Count the annotated pictures of a set.

    Args:
        stored: the set.
        run: that counts; pictures that it has learned from, in this set or as copies in another,
            are left out, since on them its errors are too small.
        load: makes its counter.
        judged: of `held_out`.
        scale: px that a cell should have per px that it has, as for the other pictures.
        reading: how the other pictures are read; its range and inversion hold for these too.
        display: where progress is shown.

    Raises:
        UserError: it has learned from all of its images.
    """
    record = run.record
    if not judged:
        raise UserError(
            f"{record['method']} was trained on the images of {stored.name}, so that they show too "
            "little of its error; name pictures that it was not trained on with --annotated."
        )
    of_set = record["dataset"] == stored.name and record["manifest_hash"] == stored.manifest_hash
    if of_set and scale == 1.0 and reading.range is None and not reading.invert:
        as_scored = {image["id"]: image for image in record["images"]}
        return [KnownPicture(i, as_scored[i]["truth"], as_scored[i]["prediction"]) for i in judged]
    return _counted(stored, judged, load(), scale, reading, display)


def _counted(
    stored: StoredSet,
    ids: Sequence[str],
    counter: "TrainedCounter",
    scale: float,
    reading: ReadOptions,
    display: Display,
) -> list[KnownPicture]:
    known = []
    with display.task(f"counting {stored.name}", len(ids)) as advance:
        for image_id in ids:
            pixels = _read(stored, image_id, reading)
            found = counter.count(pixels, scale=scale, name=image_id)
            known.append(KnownPicture(image_id, stored.entry(image_id).count, found.count))
            advance(1)
    return known


def _read(stored: StoredSet, image_id: str, reading: ReadOptions) -> NDArray[np.uint8]:
    """The pixels of an image with the range and the inversion of other pictures."""
    pixels = stored.pixels(image_id)
    if reading.range is not None:
        path = stored.folder / stored.entry(image_id).image
        return read_whole(path, replace(reading, planes=PlaneChoice())).pixels
    return np.uint8(255) - pixels if reading.invert else pixels


def check_range_fits(stored: StoredSet, reading: ReadOptions) -> None:
    """Check that the pictures of an annotated set can be read with the range of the others.

    Raises:
        UserError: a range is named and the set keeps what was made of a picture in place of its
            numbers.
    """
    if reading.range is None or stored.simulated:
        return
    made = [one for one in stored.ids if stored.entry(one).pixels_sha256 is not None]
    if made:
        raise UserError(
            f"--range cannot be applied to {made[0]} of {stored.name}, whose numbers were "
            "converted when it was imported; leave --range or --annotated out, or count and import "
            "the pictures as files of 8 bits."
        )


def also_annotated(
    stored: StoredSet, files: Mapping[str, Path], reading: ReadOptions
) -> dict[str, str]:
    """Which pictures are pictures of an annotated set: those of its size and every pixel.

    Names are not compared: an id has its folders and its file's name in part alone. An image of
    the set is one picture; other files with its pixels (blank ones) are pictures of their own.
    Those that the method was trained on are among them: their counts say nothing of others'.

    Args:
        stored: the set.
        files: pictures by name.
        reading: how the pictures are counted. They are compared as they are imported, without its
            range and inversion.

    Returns:
        The id in the set of each that is one, by name.
    """
    reading = ReadOptions(reading.planes)
    of_size: dict[tuple[int, ...], list[str]] = {}
    for image_id in stored.ids:
        of_size.setdefault(tuple(stored.entry(image_id).size), []).append(image_id)
    images: dict[tuple[int, ...], dict[str, list[str]]] = {}  # by size and pixels
    alike: dict[tuple[str, ...], list[str]] = {}
    for shown, path in files.items():
        try:
            size = full_size(path, reading)
            pixels = open_picture(path, reading).pixels if size in of_size else None
        except UserError:  # it was counted before and is gone
            continue
        if pixels is None or isinstance(pixels, LargePicture):
            continue
        if size not in images:
            images[size] = {}
            for image_id in of_size[size]:
                images[size].setdefault(_digest(stored.pixels(image_id)), []).append(image_id)
        if ids := images[size].get(_digest(pixels)):
            alike.setdefault(tuple(ids), []).append(shown)
    return {
        shown: image_id
        for ids, names in alike.items()
        for image_id, shown in zip(ids, _called_alike_first(names, files, ids), strict=False)
    }


def _called_alike_first(
    names: Sequence[str], files: Mapping[str, Path], ids: Sequence[str]
) -> list[str]:
    """Of files with the same pixels, those that are called as an image of the set come first."""
    known = [image_id.casefold() for image_id in ids]
    return sorted(names, key=lambda n: not any(files[n].stem.casefold() in one for one in known))


def _digest(pixels: NDArray[np.uint8]) -> str:
    return sha256(np.ascontiguousarray(pixels).tobytes())


def check_some_left(
    stored: StoredSet,
    run: TrainedRun,
    files: Mapping[str, Path],
    found: Mapping[str, str],
    judged: Sequence[str],
) -> list[str]:
    """Check that pictures are left to estimate a mean and a total of.

    Args:
        stored: the annotated set.
        run: that counts.
        files: pictures by name.
        found: ids by name, see `also_annotated`.
        judged: of `held_out`.

    Returns:
        A sentence on the pictures that are left out; none where no picture is.

    Raises:
        UserError: the run was trained on some, and no other picture is left.
    """
    known = set(judged)
    trained = [name for name, image_id in found.items() if image_id not in known]
    if not trained:
        return []
    which = (
        f"{len(trained)} of the {len(files)} pictures, images of {stored.name}, served to train or "
        f"choose {run.record['method']}"
    )
    if len(found) == len(files):
        raise UserError(
            f"{which}, and no picture without annotation is left; name others, or leave "
            "--annotated out."
        )
    return [f"{which}: left out of means and totals, since their counts are too good."]
