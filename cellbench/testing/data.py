"""Contract tests of data sets, simulators and transforms."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, label

from cellbench.config.compose import resolve
from cellbench.data.contracts import DataSet, Picture, RawItem, Simulator, Transform
from cellbench.data.images import image_size
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.engine.assembly import make_transform
from cellbench.errors import UserError
from cellbench.files.writing import safe_id
from cellbench.registry import DATASETS, SIMULATORS, TRANSFORMS
from cellbench.testing.contract_claim import Claim, require
from cellbench.testing.samples import picture

# Number of images of a set that are read; a set may have thousands.
READ = 5
# Number of draws of a transform.
SEEDS = 8
DISC_PX = 5.0


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A data set, a simulator or a transform under test.

    Attributes:
        name: registered name.
        options: options of its constructor.
    """

    name: str
    options: Mapping[str, Any]


def _dataset(subject: DataSubject) -> DataSet:
    dataset: DataSet = DATASETS.build({"type": subject.name, **subject.options})
    return dataset


def a_set_goes_by_its_registered_name(subject: DataSubject) -> None:
    """The name is in lower case; the set has a title."""
    dataset = _dataset(subject)
    require(dataset.name == subject.name, f"registered as {subject.name!r}, named {dataset.name!r}")
    require(subject.name == subject.name.lower(), f"{subject.name!r} is not in lower case")
    require(bool(dataset.title), "its title is empty")
    simulators = ["", *SIMULATORS.names()]
    require(dataset.simulator in simulators, f"there is no simulator {dataset.simulator!r}")


def an_empty_folder_holds_no_image_of_a_set(subject: DataSubject) -> None:
    """`scan` returns nothing, or raises a `UserError` with the layout that it expects."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = _dataset(subject).scan(Path(folder))
        except UserError:
            return
    require(not found, f"{len(found)} images in an empty folder")


def a_set_has_a_config_that_composes_with_any_method(subject: DataSubject) -> None:
    """The config is `configs/datasets/<name>.py`, with match radius, epochs and crops."""
    config = resolve("cellbench:methods/p2pnet.py", dataset=subject.name)
    require(config.data.set == subject.name, f"its config is of the set {config.data.set!r}")
    kinds = [TRANSFORMS.get(step["type"]).__name__ for step in config.data.augment]
    require(bool(kinds), "its config names no crop in `augment`; images of a batch are of one size")


def a_set_on_disk_can_be_read_and_parted(subject: DataSubject) -> None:
    """No image is in two parts, and points lie in their images; passes if it is not on disk."""
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
    """Read a raw copy of a set, and require unique ids and points inside their images.

    Args:
        dataset: data set with the layout of the folder.
        folder: folder of some annotated images.

    Returns:
        The images found, at least one.

    Raises:
        ContractError: names the invalid image.
        UserError: the data set refuses the folder.
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
    """Pixels must depend on index and seed alone."""
    simulator = _simulator(subject)
    first = simulator.draw(1, seed=3)
    other, next_one = simulator.draw(1, seed=4).pixels, simulator.draw(2, seed=3).pixels
    again = simulator.draw(1, seed=3)
    same = np.array_equal(first.pixels, again.pixels) and np.array_equal(first.points, again.points)
    require(same, "drawn again after others, an image of the same index and seed differs")
    require(not np.array_equal(first.pixels, other), "another seed draws the same picture")
    require(not np.array_equal(first.pixels, next_one), "two indices are the same picture")


def a_simulated_set_has_a_name_and_an_id_for_each_image(subject: DataSubject) -> None:
    """Ids are used as file names."""
    simulator = _simulator(subject)
    require(simulator.name == subject.name, f"it is named {simulator.name!r}")
    require(simulator.stands_for in DATASETS.names(), f"no data set {simulator.stands_for!r}")
    wanted = f"{simulator.stands_for}-sim"
    require(subject.name == wanted, f"it stands for {simulator.stands_for!r}: name it {wanted!r}")
    require(simulator.images > 0, "it has no image")
    ids = [simulator.image_id(index) for index in range(simulator.images)]
    unsafe = [image_id for image_id in ids if safe_id(image_id) != image_id]
    require(not unsafe, f"{unsafe[:1]} is no file name of letters, digits, dots and dashes")
    require(len({one.casefold() for one in ids}) == len(ids), "two images have one id")


def drawn_points_lie_in_their_picture(subject: DataSubject) -> None:
    """(H, W, 3) uint8 pixels and (N, 2) float32 points."""
    simulator = _simulator(subject)
    for index in sorted({*range(min(READ, simulator.images)), simulator.images - 1}):
        drawn = simulator.draw(index)
        kind = (drawn.pixels.shape[2:], str(drawn.pixels.dtype), str(drawn.points.dtype))
        wanted = ((3,), "uint8", "float32")
        require(kind == wanted, f"channels, pixels and points are {kind}, not {wanted}")
        shape = drawn.points.shape
        require(len(shape) == 2 and shape[1] == 2, f"its points are {shape}, not (N, 2)")
        height, width = drawn.pixels.shape[:2]
        inside = ((drawn.points >= 0) & (drawn.points < [width, height])).all()
        require(bool(inside), f"a point of image {index} lies outside of its picture")


def _transform(subject: DataSubject) -> Transform:
    transform: Transform = make_transform({"type": subject.name, **subject.options}, 1.0)
    return transform


def a_transform_leaves_its_argument_alone(subject: DataSubject) -> None:
    """It returns a new picture, the same for the same generator."""
    pixels, points = picture(80, 64)
    shown = Picture(pixels.copy(), points.copy())
    transform = _transform(subject)
    for seed in range(SEEDS):
        first, second = (transform(shown, np.random.default_rng(seed)) for _ in range(2))
        require(np.array_equal(shown.pixels, pixels), "it changes the pixels that it is given")
        require(np.array_equal(shown.points, points), "it changes the points that it is given")
        same = np.array_equal(first.pixels, second.pixels)
        same = same and np.array_equal(first.points, second.points)
        require(same, "of one generator it makes two pictures; draw from `rng` alone")


def transformed_points_lie_in_their_picture(subject: DataSubject) -> None:
    """(h, w, 3) pixels, and float32 points within them; an empty picture stays empty."""
    transform = _transform(subject)
    for cells in (30, 0):
        pixels, points = picture(80, 64, cells=cells)
        if not cells:
            pixels[:] = 200
        found = transform(Picture(pixels, points), np.random.default_rng(5))
        require(found.pixels.ndim == 3 and found.pixels.shape[2] == 3, "its pixels are not RGB")
        kind, most = str(found.pixels.dtype), float(np.abs(found.pixels).max(initial=0))
        sound = kind == "uint8" or (kind == "float32" and most <= 1)
        require(sound, f"its pixels are {kind} up to {most:g}, not uint8 or float32 from 0 to 1")
        require(str(found.points.dtype) == "float32", "its points are not float32")
        inside = ((found.points >= 0) & (found.points < found.size)).all()
        require(bool(inside), "it moves a point out of its picture")
        require(cells > 0 or len(found.points) == 0, "it adds points to an empty picture")


def a_transform_moves_points_with_their_cells(subject: DataSubject) -> None:
    """On dark discs on light ground, each whole disc has one point, and no point is elsewhere."""
    rows, columns = np.mgrid[10:90:20, 10:110:20].reshape(2, -1)
    points = (np.stack([columns, rows], axis=1) + 0.5)[:-4].astype(np.float32)
    y, x = np.mgrid[:84, :112] + 0.5
    pixels = np.full((84, 112, 3), 220, np.uint8)
    for at_x, at_y in points:
        pixels[np.hypot(x - at_x, y - at_y) < DISC_PX] = 30
    transform = _transform(subject)
    for seed in range(SEEDS):
        given = Picture(pixels.copy(), points.copy())
        found = transform(given, np.random.default_rng(seed))
        grey = gaussian_filter(found.pixels.astype(np.float64).mean(axis=2), 1.0)
        away = np.abs(grey - np.median(grey))
        blobs, number = label(away > away.max() / 2)
        height, width = blobs.shape
        at = blobs[tuple(found.points.astype(int).T[::-1])]
        inner = (found.points > DISC_PX).all(1) & (
            found.points < found.size - np.array(DISC_PX)
        ).all(1)
        require(bool((at[inner] > 0).all()), "it moves a point off its cell")
        whole = [
            index + 1
            for index, (high, wide) in enumerate(find_objects(blobs))
            if min(high.start, wide.start) > 1 and high.stop < height - 1 and wide.stop < width - 1
        ]
        counts = np.bincount(at, minlength=number + 1)[whole]
        require(bool((counts == 1).all()), f"a cell has {set(counts.tolist())} points after it")


CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    "dataset": (
        a_set_goes_by_its_registered_name,
        an_empty_folder_holds_no_image_of_a_set,
        a_set_has_a_config_that_composes_with_any_method,
        a_set_on_disk_can_be_read_and_parted,
    ),
    "simulator": (
        a_simulated_set_has_a_name_and_an_id_for_each_image,
        drawn_points_lie_in_their_picture,
        an_image_is_drawn_alike_each_time_and_otherwise_with_another_seed,
    ),
    "transform": (
        a_transform_leaves_its_argument_alone,
        transformed_points_lie_in_their_picture,
        a_transform_moves_points_with_their_cells,
    ),
}
"""Claims by role."""
