"""ADI: human subcutaneous fat."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Archive, DataSet, RawItem, ReadPoints
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import (
    by_key,
    converted,
    find_items,
    mask_points,
    pair,
    pictures,
    read_dots_or_text,
)

_DONOR = re.compile(r"GTEX-[A-Z0-9]+")


@DATASETS.register_module(name="adi")
class Adi(DataSet):
    """Adipocytes of GTEx donors, stained sections at 150x150 px; red JPEG dots.

    Source: Count-ception, arXiv:1703.08710; tissue images of the GTEx project.
    Differs: the papers give 165 ± 44 cells an image, the distributed dots are 155.1 ± 35.9.
    """

    name = "adi"
    title = "ADI"
    summary = "human adipocytes, packed, stained walls"
    images = 200
    count = (155.1, 35.9)
    image_size = "150x150"
    radius_px = 4.0
    parts = (50, 50, 100)
    archives = (Archive("https://github.com/ieee8023/countception/raw/master/adipocyte_data.zip"),)
    instructions = (
        "its raw copy is adipocyte_data/ with images/*.jpeg and annotations/*.jpeg of the same "
        "names, from github.com/ieee8023/countception."
    )
    simulator = "adi-sim"
    manifest = Path("manifests/adi.json")

    def scan(self, folder: Path) -> list[RawItem]:
        """Find `images/*.jpeg` with `annotations/*.jpeg`, or converted `x y` files."""
        return find_items(
            folder,
            (_raw, lambda place: converted(place, group=_donor)),
            looked_for="images/ with annotations/ of the same names, as ADI has them",
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read the dots: each pixel whose red is above 128.

        The dots are 253 to 255 in the red channel, and JPEG leaves 1 to 4 around them; a grey
        conversion loses them.
        """
        return read_dots_or_text(item, size, _red_dots)


def _red_dots(pixels: NDArray[np.uint8]) -> ReadPoints:
    return ReadPoints(mask_points(pixels[:, :, 0] > 128))


def _raw(folder: Path) -> list[RawItem]:
    images = by_key(pictures(folder / "images"), lambda path: path.stem)
    annotations = by_key(pictures(folder / "annotations"), lambda path: path.stem)
    return pair(images, annotations, group=_donor) if images and annotations else []


def _donor(image_id: str) -> str | None:
    found = _DONOR.search(image_id)
    return found.group() if found else None
