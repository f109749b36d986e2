"""MBM: human bone marrow."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellbench.data.contracts import Archive, DataSet, RawItem, ReadPoints
from cellbench.registry import DATASETS
from cellbench_plugins.datasets._dots import (
    brightest,
    by_key,
    converted,
    find_items,
    mask_points,
    pair,
    pictures,
    read_dots_or_text,
)

_NAME = re.compile(r"BM_GRAZ_HE_(\d+)_\d+_(?:dots_)?\d+")


@DATASETS.register_module(name="mbm")
class Mbm(DataSet):
    """Nuclei in bone marrow of eight donors, H&E at 600x600 px; 1-bit dots.

    Source: Kainz et al., You Should Use Regression to Detect Cells, MICCAI 2015, cut anew for
        Count-ception, arXiv:1703.08710.
    """

    name = "mbm"
    title = "MBM"
    summary = "bone marrow, H&E nuclei, eight donors"
    images = 44
    count = (126.2, 33.1)
    image_size = "600x600"
    radius_px = 12.0
    parts = (15, 15, 14)
    archives = (Archive("https://github.com/ieee8023/countception/raw/master/MBM_data.zip"),)
    instructions = (
        "its raw copy is MBM_data/ with BM_GRAZ_HE_<donor>_<slide>_<n>.png and "
        "BM_GRAZ_HE_<donor>_<slide>_dots_<n>.png, from github.com/ieee8023/countception."
    )
    simulator = "mbm-sim"
    manifest = Path("manifests/mbm.json")

    def scan(self, folder: Path) -> list[RawItem]:
        """Find the `BM_GRAZ_HE_*` pictures and their `_dots_` twins, or converted `x y` files."""
        return find_items(
            folder,
            (_raw, lambda place: converted(place, group=_donor)),
            looked_for="BM_GRAZ_HE_<donor>_<slide>_<n>.png with its _dots_<n>.png, as MBM has them",
        )

    def read_annotation(self, item: RawItem, *, size: tuple[int, int]) -> ReadPoints:
        """Read the dots: each set pixel of a 1-bit picture."""
        return read_dots_or_text(item, size, _set_pixels)


def _set_pixels(pixels: NDArray[np.uint8]) -> ReadPoints:
    return ReadPoints(mask_points(brightest(pixels) > 127))


def _raw(folder: Path) -> list[RawItem]:
    named = [path for path in pictures(folder) if _NAME.fullmatch(path.stem)]
    images = by_key((path for path in named if "_dots_" not in path.stem), _key)
    dots = by_key((path for path in named if "_dots_" in path.stem), _key)
    return pair(images, dots, group=_donor) if images else []


def _key(path: Path) -> str:
    return path.stem.replace("_dots_", "_")


def _donor(image_id: str) -> str | None:
    found = _NAME.fullmatch(image_id)
    return found.group(1) if found else None
