"""VGG: synthetic fluorescent cells."""

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

_NAME = re.compile(r"\d+(cell|dots)")


@DATASETS.register_module(name="vgg")
class Vgg(DottedSet):
    """Synthetic fluorescent bacteria that overlap, 256x256 px; red dots.

    Source: Lempitsky and Zisserman, Learning To Count Objects in Images, NIPS 2010, drawn with
        SIMCEP.
    Differs: the papers give 174 ± 64 cells an image, the distributed dots are 176.0 ± 61.2.
    """

    name = "vgg"
    title = "VGG"
    summary = "synthetic fluorescence, blurred and overlapping"
    images = 200
    count = (176.0, 61.2)
    parts = (64, 36, 100)
    archives = (
        Archive("https://www.robots.ox.ac.uk/~vgg/research/counting/cells.zip"),
        Archive("http://www.robots.ox.ac.uk/~vgg/research/counting/cells.zip"),
        Archive("https://github.com/ieee8023/countception/raw/master/cells.zip"),
    )
    instructions = (
        "its raw copy is cells/ with 001cell.png, 001dots.png and so on, from "
        "www.robots.ox.ac.uk/~vgg/research/counting."
    )
    looked_for = "<nnn>cell.png with <nnn>dots.png"
    simulator = "vgg-sim"
    manifest = Path("manifests/vgg.json")

    def raw(self, folder: Path) -> list[RawItem]:
        """Find `<nnn>cell.png` with `<nnn>dots.png`."""
        named = [path for path in pictures(folder) if _NAME.fullmatch(path.stem)]
        images = by_key((path for path in named if path.stem.endswith("cell")), _number)
        dots = by_key((path for path in named if path.stem.endswith("dots")), _number)
        return pair(images, dots) if images else []

    def dots(self, pixels: NDArray[np.uint8]) -> ReadPoints:
        """Read a cell from each red pixel, also where two touch."""
        return ReadPoints(mask_points(pixels[:, :, 0] > 127))


def _number(path: Path) -> str:
    return path.stem[:-4]
