"""What tests of every counter share: the configs, and how each is built."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellbench.config.compose import merge
from cellbench.config.sources import config_folders, load_file
from cellbench.errors import UserError
from cellbench.models.counter import CellCounter
from cellbench.plugin_index import entries
from cellbench.registry import COUNTERS
from cellbench.testing.samples import CounterCase


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


def case(path):
    """What the claims about counters take."""
    model = merge(load_file(path)["model"], adapted(path).model)
    return CounterCase(path.stem, model, adapted(path).side)


def build(path):
    return case(path).build()
