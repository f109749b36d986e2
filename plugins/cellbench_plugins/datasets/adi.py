"""ADI: human subcutaneous fat."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Archive, RawItem, ReadPoints
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import (
    DottedSet,
    by_key,
    mask_points,
    pair,
    pictures,
)

_DONOR = re.compile(r"GTEX-[A-Z0-9]+")


@DATASETS.register_module(name="adi")
class Adi(DottedSet):
    """Adipocytes of GTEx donors, stained sections at 150x150 px; red JPEG dots.

    Source: Count-ception, arXiv:1703.08710; tissue images of the GTEx project.
    Differs: the papers give 165 ± 44 cells an image, the distributed dots are 155.1 ± 35.9.
    """

    name = "adi"
    title = "ADI"
    summary = "human adipocytes, packed, stained walls"
    images = 200
    count = (155.1, 35.9)
    parts = (50, 50, 100)
    archives = (Archive("https://github.com/ieee8023/countception/raw/master/adipocyte_data.zip"),)
    instructions = (
        "its raw copy is adipocyte_data/ with images/*.jpeg and annotations/*.jpeg of the same "
        "names, from github.com/ieee8023/countception."
    )
    looked_for = "images/ with annotations/ of the same names"
    simulator = "adi-sim"
    manifest = Path("manifests/adi.json")

    def raw(self, folder: Path) -> list[RawItem]:
        """Find `images/*.jpeg` with `annotations/*.jpeg`."""
        images = by_key(pictures(folder / "images"), lambda path: path.stem)
        annotations = by_key(pictures(folder / "annotations"), lambda path: path.stem)
        return pair(images, annotations, group=self.group) if images and annotations else []

    def group(self, image_id: str) -> str | None:
        """Return the GTEx donor."""
        found = _DONOR.search(image_id)
        return found.group() if found else None

    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """Read a cell from each pixel whose red value is above 128.

        The dots are 253 to 255 in the red channel, with JPEG artefacts of 1 to 4 around them; a
        conversion to grey would lose them.
        """
        return ReadPoints(mask_points(pixels[:, :, 0] > 128))
