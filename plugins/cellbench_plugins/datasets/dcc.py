"""DCC: the Dublin Cell Counting data set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from cellbench.data.contracts import RawItem, ReadPoints
from cellbench.errors import UserError
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import (
    DottedSet,
    brightest,
    by_key,
    mask_points,
    pair,
    pictures,
)

_FAR = 128
_PARTS = {"trainval": "train", "train": "train", "test": "test"}


@DATASETS.register_module(name="dcc")
class Dcc(DottedSet):
    """Cells of several kinds and sizes under phase contrast, 306x322 to 798x788 px.

    The raw copy has not been available to us: every layout that its users describe is accepted,
    the polarity of the dots is detected, and all assumptions are noted.

    Source: Marsden et al., People, Penguins and Petri Dishes, CVPR 2018, arXiv:1711.05586.
    """

    name = "dcc"
    title = "DCC"
    summary = "phase contrast, several kinds of cells and sizes"
    images = 177
    count = (34.1, 21.8)
    parts = (70, 30, None)
    instructions = (
        "its raw copy is trainval/ and test/ with *cell.* beside *dots.*, in the Google Drive "
        "folder that github.com/markmarsden/DublinCellDataset links."
    )
    looked_for = (
        "trainval/ and test/ with *cell.* beside *dots.*, nor train/ and test/ with images/ and "
        "GT/ or densities/"
    )
    parted = True
    simulator = "dcc-sim"

    def raw(self, folder: Path) -> list[RawItem]:
        """Find `trainval/` and `test/` with `*cell.*` beside `*dots.*`."""
        items: list[RawItem] = []
        for place in sorted(folder.iterdir()):
            part = _PARTS.get(place.name)
            if part and place.is_dir():
                items += _raw_part(place, part)
        if items and {item.part for item in items} != {"train", "test"}:
            raise UserError(f"{folder} holds one part of DCC; put trainval/ and test/ beside it.")
        return items

    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """Read the pixels that differ from the background, dark or bright."""
        return rare_pixels(pixels)


def rare_pixels(pixels: NDArray[np.uint8]) -> ReadPoints:
    """Read dots as the pixels of the rarer value, one cell per pixel.

    The background is the commonest colour. With two colours in total, all other pixels are dots;
    with more (a lossy file), those that differ from the background by 128 or more in any channel.

    Args:
        pixels: (H, W, 3) uint8 of an annotation.

    Returns:
        Points, none for an image of one colour, and notes on the assumptions made.
    """
    colours = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, counts = np.unique(colours, return_counts=True)
    ground = int(values[counts.argmax()])
    rgb = np.array([ground >> 16, ground >> 8 & 255, ground & 255], np.int16)
    distance = brightest(np.abs(pixels.astype(np.int16) - rgb))
    mask = distance > 0 if len(values) == 2 else distance >= _FAR
    return ReadPoints(mask_points(mask), tuple(_assumed(pixels, mask, rgb)))


def _assumed(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], ground: NDArray[np.int16]
) -> Iterator[str]:
    if not mask.any():
        yield "An annotation of one colour was taken for an image without cells."
        return
    dark = float(pixels[mask].mean()) < float(ground.mean())
    yield f"The rarer value, the {'dark' if dark else 'bright'} one, was taken for the dots."
    blobs = int(label(mask, np.ones((3, 3)))[1])
    if blobs < mask.sum():
        yield "Some dots touch; each pixel was taken for a cell."


def _raw_part(folder: Path, part: str) -> list[RawItem]:
    named = pictures(folder)
    images = by_key((path for path in named if path.stem.endswith("cell")), _key)
    dots = by_key((path for path in named if path.stem.endswith("dots")), _key)
    return pair(images, dots, part=part, prefix=f"{part}-") if images and dots else []


def _key(path: Path) -> str:
    return path.stem[:-4].rstrip("_-")
