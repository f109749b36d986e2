"""The contracts of data sets, simulators and transforms, as tests."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellbench.config.compose import resolve
from cellbench.data.contracts import DataSet, Picture, RawItem, Simulator, Transform
from cellbench.data.images import image_size
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.engine.assembly import make_transform
from cellbench.errors import UserError
from cellbench.registry import DATASETS, SIMULATORS, TRANSFORMS
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.samples import picture

# Images of a set that are read; a set may have thousands.
READ = 5


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A data set, a simulator or a transform under test.

    Attributes:
        name: as it is registered.
        options: of its constructor.
    """

    name: str
    options: Mapping[str, Any]


def _dataset(subject: DataSubject) -> DataSet:
    dataset: DataSet = DATASETS.build({"type": subject.name, **subject.options})
    return dataset


def a_set_goes_by_its_registered_name(subject: DataSubject) -> None:
    """In lower case, with a title."""
    dataset = _dataset(subject)
    require(dataset.name == subject.name, f"registered as {subject.name!r}, named {dataset.name!r}")
    require(subject.name == subject.name.lower(), f"{subject.name!r} is not in lower case")
    require(bool(dataset.title), "its title is empty")
    simulators = ["", *SIMULATORS.names()]
    require(dataset.simulator in simulators, f"there is no simulator {dataset.simulator!r}")


def an_empty_folder_holds_no_image_of_a_set(subject: DataSubject) -> None:
    """`scan` finds nothing, or raises a `UserError` with the layout that it expects."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = _dataset(subject).scan(Path(folder))
        except UserError:
            return
    require(not found, f"{len(found)} images in an empty folder")


def a_set_has_a_config_that_composes_with_any_method(subject: DataSubject) -> None:
    """`configs/datasets/<name>.py`, with its match radius, its epochs and its crops."""
    config = resolve("cellbench:methods/p2pnet.py", dataset=subject.name)
    require(config.data.set == subject.name, f"its config is of the set {config.data.set!r}")
    kinds = [TRANSFORMS.get(step["type"]).__name__ for step in config.data.augment]
    require(bool(kinds), "its config names no crop in `augment`; images of a batch are of one size")


def a_set_on_disk_can_be_read_and_parted(subject: DataSubject) -> None:
    """No image is in two parts, and points lie in their images; passes where it is not on disk."""
    if not is_on_disk(subject.name):
        return
    stored = open_set(subject.name)
    for split in SPLITS:
        parts = make_split(stored, _dataset(subject), "v1", split)
        used = [*parts.train, *parts.val, *parts.test]
        require(len(used) == len(set(used)), f"an image is in two parts of split {split}")
        require(all((parts.train, parts.val, parts.test)), f"a part of split {split} is empty")
    for image_id in stored.ids[:READ]:
        sample, pixels = stored.sample(image_id), stored.pixels(image_id)
        height, width = pixels.shape[:2]
        require((width, height) == sample.size, f"{image_id} is not of the size in its manifest")


def check_raw_copy(dataset: DataSet, folder: Path) -> list[RawItem]:
    """Read a raw copy of a set: unique ids, and points in their pictures.

    Args:
        dataset: whose layout the folder has.
        folder: of some annotated pictures.

    Returns:
        The images that it found, at least one.

    Raises:
        ContractError: with the image that is wrong.
        UserError: from the data set.
    """
    items = dataset.scan(folder)
    require(bool(items), f"no image of {dataset.name} in {folder}")
    ids = [item.image_id for item in items]
    require(len(ids) == len(set(ids)), "two images have one id")
    for item in items:
        size = image_size(item.image)
        points = dataset.read_annotation(item, size=size).points
        kind = (points.ndim, points.shape[-1], str(points.dtype))
        require(kind == (2, 2, "float32"), f"points of {item.image_id} are {kind}: (N, 2) float32")
        inside = bool(((points >= 0) & (points < size)).all())
        require(inside, f"a point of {item.image_id} lies outside of its {size[0]}x{size[1]} px")
    return items


def _simulator(subject: DataSubject) -> Simulator:
    simulator: Simulator = SIMULATORS.build({"type": subject.name, **subject.options})
    return simulator


def an_image_is_drawn_alike_each_time_and_otherwise_with_another_seed(
    subject: DataSubject,
) -> None:
    """The pixels follow from index and seed."""
    first, again = (_simulator(subject).draw(1, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.points, again.points)
    other = _simulator(subject).draw(1, seed=4).pixels
    require(not np.array_equal(first.pixels, other), "another seed draws the same picture")


def drawn_points_lie_in_their_picture(subject: DataSubject) -> None:
    """(H, W, 3) uint8 pixels and (N, 2) float32 points."""
    simulator = _simulator(subject)
    require(simulator.name == subject.name, f"it is named {simulator.name!r}")
    require(simulator.stands_for in DATASETS.names(), f"no data set {simulator.stands_for!r}")
    drawn = simulator.draw(0)
    kind = (drawn.pixels.ndim, str(drawn.pixels.dtype), str(drawn.points.dtype))
    require(kind == (3, "uint8", "float32"), f"pixels and points are {kind}")
    height, width = drawn.pixels.shape[:2]
    inside = ((drawn.points >= 0) & (drawn.points < [width, height])).all()
    require(bool(inside), "a point lies outside of its picture")


def _transformed(subject: DataSubject, shown: Picture) -> Picture:
    transform: Transform = make_transform({"type": subject.name, **subject.options}, 1.0)
    return transform(shown, np.random.default_rng(5))


def a_transform_leaves_its_argument_alone(subject: DataSubject) -> None:
    """It returns a new picture, the same for the same generator."""
    pixels, points = picture(80, 64)
    shown = Picture(pixels.copy(), points.copy())
    first, second = _transformed(subject, shown), _transformed(subject, shown)
    require(np.array_equal(shown.pixels, pixels), "it changes the pixels that it is given")
    require(np.array_equal(shown.points, points), "it changes the points that it is given")
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.points, second.points)


def transformed_points_lie_in_their_picture(subject: DataSubject) -> None:
    """(h, w, 3) pixels, and float32 points within them; an empty picture stays one."""
    for cells in (30, 0):
        pixels, points = picture(80, 64, cells=cells)
        found = _transformed(subject, Picture(pixels, points))
        require(found.pixels.ndim == 3 and found.pixels.shape[2] == 3, "its pixels are not RGB")
        require(str(found.points.dtype) == "float32", "its points are not float32")
        inside = ((found.points >= 0) & (found.points < found.size)).all()
        require(bool(inside), "it moves a point out of its picture")
        require(cells > 0 or len(found.points) == 0, "it adds points to an empty picture")


CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    "dataset": (
        a_set_goes_by_its_registered_name,
        an_empty_folder_holds_no_image_of_a_set,
        a_set_has_a_config_that_composes_with_any_method,
        a_set_on_disk_can_be_read_and_parted,
    ),
    "simulator": (
        drawn_points_lie_in_their_picture,
        an_image_is_drawn_alike_each_time_and_otherwise_with_another_seed,
    ),
    "transform": (a_transform_leaves_its_argument_alone, transformed_points_lie_in_their_picture),
}
"""By role."""
