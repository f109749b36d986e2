"""What tests of every counter share: the configs, how each is built, and pictures for it."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellbench.config.compose import config_folders, load_file, merge
from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.errors import UserError
from cellbench.models.build import build_counter
from cellbench.models.counter import Batch, CellCounter
from cellbench.plugin_index import entries
from cellbench.registry import COUNTERS
from cellbench.structures import CellSample


@dataclass(frozen=True)
class Adapted:
    """A method that these tests don't build as its config says, or hold to less, and why.

    Attributes:
        why: the reason, a sentence.
        model: merged into the config's `model`.
        side: of the pictures it is trained with, px.
    """

    why: str
    model: Mapping[str, Any] = field(default_factory=dict)
    side: int = 64


# By the stem of the config. A paradigm that needs another treatment says so here.
ADAPTED: dict[str, Adapted] = {}

# Configs whose counter does its work outside of this environment, and why.
OUTSIDE: dict[str, str] = dict.fromkeys(
    ("cellpose_zeroshot", "stardist_zeroshot"),
    "it needs a package with weights of its own; test_method_zero_shot.py has a stand-in",
)


@dataclass(frozen=True)
class DecoderCase:
    """What a decoder is tried with: options, strides of the trunk, convolutions, spacing."""

    options: Mapping[str, Any] = field(default_factory=lambda: {"stride": 2, "channels": 32})
    strides: tuple[int, ...] = (2, 4)
    takes_conv: bool = True
    spacing_px: int = 2


# Decoders that take other options than a stride and channels, or no convolution.
DECODER_CASES = {
    # these two take the finest map: of a trunk with two the coarser one would stay untrained
    "Identity": DecoderCase(options={}, strides=(2,), takes_conv=False),
    "FCRNBMap": DecoderCase(options={}, strides=(4,), takes_conv=False),
    "UNetDecoder": DecoderCase(takes_conv=False),
    "SAUNetDecoder": DecoderCase(options={"stride": 2}, takes_conv=False),
    "PGCNetDecoder": DecoderCase(options={"stride": 2}, takes_conv=False),
    "DilatedBackEnd": DecoderCase(options={"channels": 32}, takes_conv=False),
    "SpatialEncoder": DecoderCase(options={"channels": 32}, takes_conv=False),
    "UpsampledConvs": DecoderCase(options={"channels": 32}, takes_conv=False),
    "GlobalMessages": DecoderCase(options={"channels": 32}),
    "ScaleSelection": DecoderCase(
        options={}, strides=(1, 2, 4, 8, 16), takes_conv=False, spacing_px=1
    ),
}


def methods():
    """One config for each different model: recipes that differ in the training alone are one."""
    found: dict[str, Path] = {}
    for path in sorted((config_folders()[-1] / "methods").glob("*.py")):
        if path.stem not in OUTSIDE:
            found.setdefault(repr(load_file(path)["model"]), path)
    return list(found.values())


METHODS = methods()


# Counters that look at the training images in `fit`, and are trained by steps all the same.
LOOK_IN_FIT: dict[str, str] = {
    "SAUNet": "it keeps the training images for the statistics of its batch-norm",
}


def trains_itself(path):
    """Whether a method replaces the training by steps; one that does not import fails its tests."""
    name = load_file(path)["model"]["type"]
    with contextlib.suppress(UserError):
        return name not in LOOK_IN_FIT and COUNTERS.get(name).fit is not CellCounter.fit
    return False


STEPPED = [path for path in METHODS if not trains_itself(path)]


def built_in(registry):
    """The parts of this distribution; those of plugins that happen to be installed are theirs."""
    return [e.name for e in entries() if e.role == registry.name and e.distribution == "cellbench"]


def adapted(path):
    return ADAPTED.get(path.stem, Adapted("as its config says"))


def build(path):
    model = merge(load_file(path)["model"], adapted(path).model)
    return build_counter(model, load_weights=False)


def picture(width, height, seed=0, cells=None):
    """A noisy picture with dark spots, and where they are: about as dense as ADI."""
    rng = np.random.default_rng(seed)
    number = width * height // 145 if cells is None else cells
    points = (rng.random((number, 2)) * [width, height]).astype(np.float32)
    pixels = rng.integers(150, 255, (height, width, 3), dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] //= 3
    return pixels, points


class Pictures:
    """A data set in memory."""

    def __init__(self, number, side):
        self.made = {str(seed): picture(side, side, seed) for seed in range(number)}
        self.ids = sorted(self.made)
        self.side = side

    def sample(self, image_id):
        return CellSample(image_id, self.made[image_id][1], (self.side, self.side))

    def pixels(self, image_id):
        return self.made[image_id][0]


def training_data(side):
    """Three images to train on and two to choose on."""
    pictures = Pictures(5, side)
    train = TrainingSet(
        pictures, "012", transforms=(), seed=0, split=0, crops_per_image=1, batch_size=2
    )
    return train, WholeImages(pictures, "34")


def images_of(counter, arrays, scale=1.0, names=None):
    names = [str(index) for index in range(len(arrays))] if names is None else names
    return counter.data_preprocessor.images(arrays, scale=scale, image_ids=names)


def batch_of(counter, *pictures):
    points = [torch.from_numpy(points) for _, points in pictures]
    return Batch(images_of(counter, [pixels for pixels, _ in pictures]), points)


def total(terms):
    return sum(term for name, term in terms.items() if name.startswith("loss"))
