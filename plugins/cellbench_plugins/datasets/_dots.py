"""What the parsers share: finding a layout in a folder, and reading dots off an image."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import DataSet, RawItem, ReadPoints
from cellbench.data.images import image_size, is_named_as_picture, read_image
from cellbench.data.points import read_point_file
from cellbench.errors import UserError
from cellbench.structures import Points
from cellbench_plugins.datasets._densities import find_cells
from cellbench_plugins.datasets._hdf5 import array_names, read_array

_DEPTH = 2
# Share of the cells of a map that may be misplaced without a word.
_UNSURE = 0.05
_MOST_FOLDERS = 2000
_TEXT = (".txt", ".csv", ".tsv")
_MAPS = (".h5", ".hdf5")
# Where people who convert a set put its point files or density maps, beside `images/`.
_POINT_FOLDERS = ("annotations", "labels", "GT", "gt", "points", "dots", "ground_truth")
_MAP_FOLDERS = ("densities", "density")
_PARTS = {"train": "train", "trainval": "train", "val": "train", "test": "test"}


class DottedSet(DataSet):
    """A set whose annotations are pictures of dots or, where it was converted, files of points.

    Attributes:
        looked_for: what its layout looks like, for the message where it is not found.
        parted: whether the parts in which it is distributed matter, train and test.
    """

    looked_for: ClassVar[str]
    parted: ClassVar[bool] = False

    @abstractmethod
    def raw(self, folder: Path) -> list[RawItem]:
        """The images of a folder with the authors' layout; none of another one."""

    @abstractmethod
    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """The cells in the (H, W, 3) pixels of an annotation."""

    def group(self, image_id: str) -> str | None:
        """Donor or slide of an image, where its name holds it."""
        return None

    def scan(self, folder: Path) -> list[RawItem]:
        """The images of the first place, from the folder down, that has a layout of the set.

        Raises:
            UserError: no folder has one.
        """
        for place in candidates(folder):
            items = self.raw(place) or converted(place, group=self.group, parted=self.parted)
            if items:
                return items
        raise UserError(
            f"{folder} and the folders in it hold no {self.looked_for}, as {self.title} has them; "
            "name the raw copy."
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read a point file, or find the cells of a density map or the dots of a picture.

        Raises:
            UserError: there is no annotation, it cannot be read or is of another size.
        """
        if item.annotation is None:
            raise UserError(f"{item.image} has no annotation; put it beside the others.")
        if item.annotation.suffix.lower() in _TEXT:
            return read_point_file(item.annotation)
        if item.annotation.suffix.lower() in _MAPS:
            return map_points(read_map(item.annotation), size=size, name=str(item.annotation))
        found = image_size(item.annotation)
        if found != size:
            raise UserError(
                f"{item.annotation} is {found[0]}x{found[1]} px and its picture "
                f"{size[0]}x{size[1]} px; both must be of one size."
            )
        # Dots on a transparent ground must not drown in white.
        return self.dots(read_image(item.annotation, background=0))


def map_points(density: NDArray[np.generic], *, size: tuple[int, int], name: str) -> ReadPoints:
    """The cells of a density map.

    Args:
        density: (H, W), cells per pixel; an axis of length 1 is left out.
        size: (width, height) of its picture, px.
        name: of the map, as the start of a sentence.

    Raises:
        UserError: it is of another size, or no sum of Gaussians of one cell each.
    """
    flat = density.squeeze()
    if flat.shape != size[::-1]:
        raise UserError(
            f"{name} has the shape {density.shape} and its picture {size[0]}x{size[1]} px; both "
            "must be of one size."
        )
    found = find_cells(flat, name=name)
    notes = ["Cells were placed where Gaussians add up to the density map."]
    if found.left > _UNSURE:
        notes.append(f"{name}: {found.left:.0%} of its cells may be elsewhere.")
    return ReadPoints(found.points, tuple(notes))


def read_map(path: Path) -> NDArray[np.generic]:
    """The density map of a file: its one array, or the one that is named so.

    Raises:
        UserError: it holds none or several, or cannot be read.
    """
    names = array_names(path)
    named = [name for name in names if "density" in name.lower()] or names
    if len(named) != 1:
        listed = ", ".join(names) or "none"
        raise UserError(f"{path} holds the arrays {listed}; one with the density is wanted.")
    return read_array(path, named[0])


def candidates(folder: Path) -> Iterator[Path]:
    """The folder and what is below it, nearest first; links and hidden folders are passed over.

    An archive unpacks into a folder of its own, and people name that folder or its parent.
    """
    level, seen = [folder], 0
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            yield place
            seen += 1
            if seen >= _MOST_FOLDERS:
                return
            below += sorted(
                child
                for child in place.iterdir()
                if child.is_dir()
                and not child.is_symlink()
                and not child.name.startswith((".", "__"))
            )
        level = below


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted by name; hidden files are none."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_named_as_picture(path) and path.is_file())


def by_key(paths: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    """Files by what an image shares with its annotation.

    Raises:
        UserError: two files have one key: which is meant cannot be known.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(key(path), path)
        if other != path:
            raise UserError(
                f"{other} and {path.name} go by one name; take one of them out of the folder."
            )
    return found


def pair(
    images: dict[str, Path],
    annotations: dict[str, Path],
    *,
    part: str | None = None,
    group: Callable[[str], str | None] = lambda _: None,
    prefix: str = "",
) -> list[RawItem]:
    """Put images and annotations of one key together, sorted by key.

    Raises:
        UserError: an annotation has no image. An image without annotation is returned so.
    """
    orphans = [annotations[key].name for key in sorted(annotations.keys() - images.keys())]
    if orphans:
        more = f" and {len(orphans) - 3} more" if len(orphans) > 3 else ""
        raise UserError(
            f"{len(orphans)} annotations have no image: {', '.join(orphans[:3])}{more}; put the "
            "missing files beside the others."
        )
    return [
        RawItem(prefix + key, images[key], annotations.get(key), part=part, group=group(key))
        for key in sorted(images)
    ]


def converted(
    folder: Path, *, group: Callable[[str], str | None] = lambda _: None, parted: bool = False
) -> list[RawItem]:
    """The layout that converters write: `[train|test/]images/*`, and 'x y' files or densities.

    Args:
        folder: may hold `images/`, or `train/` and `test/` that do.
        group: donor or slide of an image id.
        parted: whether the set's own parts matter, and so are kept in part and id.
    """
    parts = {child: _PARTS[child.name] for child in _children(folder) if child.name in _PARTS}
    items = []
    for place, part in parts.items() or ((folder, None),):
        found = _converted_part(place, part if parted else None, group)
        items += found
    if parted and items and {item.part for item in items} != {"train", "test"}:
        raise UserError(f"{folder} holds one part of the set; put train/ and test/ beside it.")
    return items


def brightest(pixels: NDArray[Any]) -> NDArray[Any]:
    """The greatest channel of (H, W, 3) pixels; several times faster than a maximum over axis 2."""
    return np.maximum(np.maximum(pixels[:, :, 0], pixels[:, :, 1]), pixels[:, :, 2])


def mask_points(mask: NDArray[np.bool_]) -> Points:
    """The centres of the set pixels, row by row: (N, 2) float32 (x, y); (0, 2) if none is set."""
    rows, columns = np.nonzero(mask)
    return (np.stack([columns, rows], axis=1) + 0.5).astype(np.float32)


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir())


def _converted_part(
    folder: Path, part: str | None, group: Callable[[str], str | None]
) -> list[RawItem]:
    images = by_key(pictures(folder / "images"), _key)
    if not images:
        return []
    places = [folder / name for name in _POINT_FOLDERS] + [folder / "images"]
    # GT/ beside train/ and test/ instead of in them.
    places += [folder.parent / name / folder.name for name in _POINT_FOLDERS]
    maps = [folder / name for name in _MAP_FOLDERS]
    for place, suffixes in [(p, _TEXT) for p in places] + [(p, _MAPS) for p in maps]:
        annotations = [
            path
            for path in (sorted(place.iterdir()) if place.is_dir() else ())
            if path.suffix.lower() in suffixes and path.is_file()
        ]
        if annotations:
            prefix = f"{part}-" if part else ""
            return pair(images, by_key(annotations, _key), part=part, group=group, prefix=prefix)
    return []


def _key(path: Path) -> str:
    """What the names of an image and of its points share: '001cell' and '001dots' are '001'."""
    return re.sub(r"_?(cell|dots)(?=_|$)", "", path.stem) or path.stem
