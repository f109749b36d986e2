"""MBM: human bone marrow."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Archive, RawItem, ReadPoints
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import (
    DottedSet,
    brightest,
    by_key,
    mask_points,
    pair,
    pictures,
)

_NAME = re.compile(r"BM_GRAZ_HE_(\d+)_\d+_(?:dots_)?\d+")


@DATASETS.register_module(name="mbm")
class Mbm(DottedSet):
    """Nuclei in bone marrow of eight donors, H&E at 600x600 px; 1-bit dots.

    Source: Kainz et al., You Should Use Regression to Detect Cells, MICCAI 2015, cut anew for
        Count-ception, arXiv:1703.08710.
    """

    name = "mbm"
    title = "MBM"
    summary = "bone marrow, H&E nuclei, eight donors"
    images = 44
    count = (126.2, 33.1)
    parts = (15, 15, 14)
    archives = (Archive("https://github.com/ieee8023/countception/raw/master/MBM_data.zip"),)
    instructions = (
        "its raw copy is MBM_data/ with BM_GRAZ_HE_<donor>_<slide>_<n>.png and "
        "BM_GRAZ_HE_<donor>_<slide>_dots_<n>.png, from github.com/ieee8023/countception."
    )
    looked_for = "BM_GRAZ_HE_<donor>_<slide>_<n>.png with its _dots_<n>.png"
    simulator = "mbm-sim"
    manifest = Path("manifests/mbm.json")

    def raw(self, folder: Path) -> list[RawItem]:
        """List the `BM_GRAZ_HE_*` images with their `_dots_` annotations."""
        named = [path for path in pictures(folder) if _NAME.fullmatch(path.stem)]
        images = by_key((path for path in named if "_dots_" not in path.stem), _key)
        dots = by_key((path for path in named if "_dots_" in path.stem), _key)
        return pair(images, dots, group=self.group) if images else []

    def group(self, image_id: str) -> str | None:
        """Return the donor."""
        found = _NAME.fullmatch(image_id)
        return found.group(1) if found else None

    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """Read a cell from each set pixel of a 1-bit image."""
        return ReadPoints(mask_points(brightest(pixels) > 127))


def _key(path: Path) -> str:
    return path.stem.replace("_dots_", "_")
