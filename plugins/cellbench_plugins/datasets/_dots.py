"""Parsing of raw data sets: detection of the folder layout, and reading of dots and maps."""

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
# Share of a map's cells that may be misplaced before a note is recorded.
_UNSURE = 0.05
_MOST_FOLDERS = 2000
_TEXT = (".txt", ".csv", ".tsv")
_MAPS = (".h5", ".hdf5")
# Folders beside `images/` that hold the point files or density maps of converted sets.
_POINT_FOLDERS = ("annotations", "labels", "GT", "gt", "points", "dots", "ground_truth")
_MAP_FOLDERS = ("densities", "density")
_PARTS = {"train": "train", "trainval": "train", "val": "train", "test": "test"}


class DottedSet(DataSet):
    """Data set annotated by images of dots or, in converted copies, by point files or maps.

    Attributes:
        looked_for: description of the layout, for the message where it is not found.
        parted: whether the set is distributed in train and test parts that are to be kept.
    """

    looked_for: ClassVar[str]
    parted: ClassVar[bool] = False

    @abstractmethod
    def raw(self, folder: Path) -> list[RawItem]:
        """List the images of a folder with the authors' layout; empty for another layout."""

    @abstractmethod
    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """Read the cells from the (H, W, 3) pixels of an annotation."""

    def group(self, image_id: str) -> str | None:
        """Return the donor or slide of an image if its name contains it, else None."""
        return None

    def scan(self, folder: Path) -> list[RawItem]:
        """List the images of the first folder, from the given one down, with a known layout.

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
        """Read the points from a point file, a density map or an image of dots.

        Raises:
            UserError: there is no annotation, it cannot be read or has another size.
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
        # A black background, so that dots on a transparent one remain visible.
        return self.dots(read_image(item.annotation, background=0))


def map_points(density: NDArray[np.generic], *, size: tuple[int, int], name: str) -> ReadPoints:
    """Read the cells from a density map.

    Args:
        density: (H, W), cells per pixel; axes of length 1 are dropped.
        size: (width, height) of its image, px.
        name: name of the map, as the start of an error message.

    Raises:
        UserError: the map has another size, or is not a sum of Gaussians of one cell each.
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
    """Load the density map of an HDF5 file: its only array, or the one named "density".

    Raises:
        UserError: the file holds none or several, or cannot be read.
    """
    names = array_names(path)
    named = [name for name in names if "density" in name.lower()] or names
    if len(named) != 1:
        listed = ", ".join(names) or "none"
        raise UserError(f"{path} holds the arrays {listed}; one with the density is wanted.")
    return read_array(path, named[0])


def candidates(folder: Path) -> Iterator[Path]:
    """Yield the folder and those below it, nearest first, without links and hidden folders.

    An archive unpacks into its own folder, and users give that folder or its parent.
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
    """List the image files of a folder, sorted by name, without hidden files."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_named_as_picture(path) and path.is_file())


def by_key(paths: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    """Index files by the key that an image shares with its annotation.

    Raises:
        UserError: two files have the same key.
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
    """Pair images with annotations of the same key, sorted by key.

    An image without annotation is returned with None.

    Raises:
        UserError: an annotation has no image.
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
    """List the images of a converted copy: `[train|test/]images/*` with 'x y' files or densities.

    Args:
        folder: folder that may hold `images/`, or `train/` and `test/` with `images/`.
        group: function from an image id to its donor or slide.
        parted: whether the parts of the set are kept, in `part` and in the ids.
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
    """Compute the maximum over the channels of (H, W, 3) pixels, faster than NumPy over axis 2."""
    return np.maximum(np.maximum(pixels[:, :, 0], pixels[:, :, 1]), pixels[:, :, 2])


def mask_points(mask: NDArray[np.bool_]) -> Points:
    """Return the centres of the set pixels, row by row: (N, 2) float32 (x, y); (0, 2) if none."""
    rows, columns = np.nonzero(mask)
    return (np.stack([columns, rows], axis=1) + 0.5).astype(np.float32)


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir())


def _converted_part(
    folder: Path, part: str | None, group: Callable[[str], str | None]
) -> list[RawItem]:
    """List the images of one part of a converted copy; empty without images or annotations."""
    images = by_key(pictures(folder / "images"), _key)
    annotations = _annotations(folder) if images else []
    if not annotations:
        return []
    prefix = f"{part}-" if part else ""
    return pair(images, by_key(annotations, _key), part=part, group=group, prefix=prefix)


def _annotations(folder: Path) -> list[Path]:
    """List the point files or maps of the first folder with any, point files before maps."""
    places = [folder / name for name in _POINT_FOLDERS] + [folder / "images"]
    # GT/ may stand beside train/ and test/ instead of in them.
    places += [folder.parent / name / folder.name for name in _POINT_FOLDERS]
    maps = [folder / name for name in _MAP_FOLDERS]
    for place, suffixes in [(p, _TEXT) for p in places] + [(p, _MAPS) for p in maps]:
        found = _files(place, suffixes)
        if found:
            return found
    return []


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a folder with some suffixes, sorted; empty where it does not exist."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]


def _key(path: Path) -> str:
    """Return the key that image and annotation share: '001' for '001cell' and '001dots'."""
    return re.sub(r"_?(cell|dots)(?=_|$)", "", path.stem) or path.stem
