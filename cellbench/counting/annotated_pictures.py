"""Method counts of annotated pictures, for the estimates of means and totals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellbench.counting.experiment_means import KnownPicture
from cellbench.data.large import LargePicture, full_size, open_picture
from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions, read_whole
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
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    display: Display,
) -> list[KnownPicture]:
    """Count the held-out annotated pictures of a set.

    Args:
        stored: the set.
        run: the run that counts. Pictures that it was trained on, in this set or as copies in
            another, are not in `judged`, since its errors on them are too small.
        load: returns the run's counter.
        judged: ids of the held-out pictures, see `held_out`.
        scale: resampling factor, as for the other pictures.
        reading: how the other pictures are read; its range and inversion are applied here too.
        display: where progress is shown.

    Returns:
        Annotated and method counts. They come from the run's record where the set, the scale and
        the pixel values are those that it was scored with.

    Raises:
        UserError: the run was trained on all images of the set.
    """
    record = run.record
    if not judged:
        raise UserError(
            f"{record['method']} was trained on the images of {stored.name}, so that they show too "
            "little of its error; name pictures that it was not trained on with --annotated."
        )
    same_set = record["dataset"] == stored.name and record["manifest_hash"] == stored.manifest_hash
    if same_set and scale == 1.0 and reading.range is None and not reading.invert:
        scored = {image["id"]: image for image in record["images"]}
        return [KnownPicture(i, scored[i]["truth"], scored[i]["prediction"]) for i in judged]
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
    """Read the pixels of an image with the range and the inversion of `reading`."""
    pixels = stored.pixels(image_id)
    if reading.range is not None:
        path = stored.folder / stored.entry(image_id).image
        return read_whole(path, replace(reading, planes=PlaneChoice())).pixels
    return np.uint8(255) - pixels if reading.invert else pixels


def check_range_fits(stored: StoredSet, reading: ReadOptions) -> None:
    """Check that the intensity range of `reading` can be applied to an annotated set.

    Raises:
        UserError: a range is given and the set stores converted pixels of a picture in place of
            its raw values.
    """
    if reading.range is None or stored.simulated:
        return
    converted = [one for one in stored.ids if stored.entry(one).pixels_sha256 is not None]
    if converted:
        raise UserError(
            f"--range cannot be applied to {converted[0]} of {stored.name}, whose numbers were "
            "converted when it was imported; leave --range or --annotated out, or count and import "
            "the pictures as files of 8 bits."
        )


def match_to_set(
    stored: StoredSet, files: Mapping[str, Path], reading: ReadOptions
) -> dict[str, str]:
    """Match pictures to the images of an annotated set by size and pixels.

    Names are not compared, since an id holds only parts of its folders and its file's name. Each
    image of the set matches at most one picture; further files with its pixels (blank ones) are
    unmatched. Images that the method was trained on are matched too.

    Args:
        stored: the set.
        files: pictures by name.
        reading: how the pictures are counted. They are compared as they are imported, without its
            range and inversion.

    Returns:
        The image id of each matched picture, by the picture's name.
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
        except UserError:  # the file was counted before and has been deleted
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
        for image_id, shown in zip(ids, _similar_names_first(names, files, ids), strict=False)
    }


def _similar_names_first(
    names: Sequence[str], files: Mapping[str, Path], ids: Sequence[str]
) -> list[str]:
    """Sort files with the same pixels: those whose stem is part of an image id come first."""
    known = [image_id.casefold() for image_id in ids]
    return sorted(names, key=lambda n: not any(files[n].stem.casefold() in one for one in known))


def _digest(pixels: NDArray[np.uint8]) -> str:
    return sha256(np.ascontiguousarray(pixels).tobytes())


def check_pictures_left(
    stored: StoredSet,
    run: TrainedRun,
    files: Mapping[str, Path],
    found: Mapping[str, str],
    judged: Sequence[str],
) -> list[str]:
    """Check that a mean and a total can be estimated without the pictures of the training.

    Args:
        stored: the annotated set.
        run: the run that counts.
        files: pictures by name.
        found: image ids by picture name, see `match_to_set`.
        judged: ids of the held-out pictures, see `held_out`.

    Returns:
        One sentence on the counted pictures that are left out and one on the other annotated
        pictures that are, if there are any.

    Raises:
        UserError: the run was trained on some pictures, and all others are annotated.
    """
    known = set(judged)
    trained = [name for name, image_id in found.items() if image_id not in known]
    others = set(stored.ids) - known - set(found.values())
    said = []
    if others and judged:
        why = (
            f"of the set that {run.record['method']} was trained on only the test part is used"
            if run.record["dataset"] == stored.name
            else f"they served to train or choose {run.record['method']}"
        )
        many = f"{len(others)} of the {len(stored.ids)} annotated pictures of {stored.name}"
        said = [f"{many} are left out: {why}."]
    if not trained:
        return said
    which = (
        f"{len(trained)} of the {len(files)} pictures, images of {stored.name}, served to train or "
        f"choose {run.record['method']}"
    )
    if len(found) == len(files):
        raise UserError(
            f"{which}, and no picture without annotation is left; name others, or leave "
            "--annotated out."
        )
    return [f"{which}: left out of means and totals, since their counts are too good.", *said]
