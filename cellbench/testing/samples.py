"""Synthetic images with known cells, and the counters that are tested on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.structures import CellSample, Points

# About the density of the cells of ADI.
PX_PER_CELL = 145


@dataclass(frozen=True, slots=True)
class CounterCase:
    """Config of a counter under test.

    Attributes:
        name: name in messages.
        model: the `model` of its config.
        side: side of the square training images, px.
    """

    name: str
    model: Mapping[str, Any]
    side: int = 64

    def build(self) -> CellCounter:
        """Build the counter with random weights."""
        return build_counter(self.model, load_weights=False)

    def build_trained(self) -> tuple[CellCounter, bool]:
        """Return the counter, trained if it trains itself, and whether it is trained by steps."""
        torch.manual_seed(0)
        counter = self.build()
        if type(counter).fit is CellCounter.fit:
            return counter, True
        return counter, not counter.fit(*training_data(self.side))


@dataclass(slots=True)
class CounterSubject:
    """Counter under test.

    Attributes:
        case: the config that it is built from.
        counter: built once for all claims; trained if it trains itself.
        stepped: whether it is trained by steps.
    """

    case: CounterCase
    counter: CellCounter
    stepped: bool

    @classmethod
    def of(cls, case: CounterCase) -> "CounterSubject":
        """Build the counter of a case."""
        return cls(case, *case.build_trained())


def picture(
    width: int, height: int, seed: int = 0, cells: int | None = None
) -> tuple[NDArray[np.uint8], Points]:
    """Draw a noisy (height, width, 3) image with dark spots; returns pixels and points."""
    rng = np.random.default_rng(seed)
    number = width * height // PX_PER_CELL if cells is None else cells
    points = (rng.random((number, 2)) * [width, height]).astype(np.float32)
    pixels = rng.integers(150, 255, (height, width, 3), dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] //= 3
    return pixels, points


class Pictures:
    """Square images in memory, with the interface of a data set."""

    def __init__(self, number: int, side: int) -> None:
        """Draw the images; their ids are "0", "1" and so on."""
        self.made = {str(seed): picture(side, side, seed) for seed in range(number)}
        self.ids = sorted(self.made)
        self.side = side

    def sample(self, image_id: str) -> CellSample:
        """Return the annotation of an image."""
        return CellSample(image_id, self.made[image_id][1], (self.side, self.side))

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """Return the pixels of an image."""
        return self.made[image_id][0]


def training_data(side: int) -> tuple[TrainingSet, WholeImages]:
    """Build three images to train on and two to validate on."""
    pictures: Any = Pictures(5, side)
    train = TrainingSet(
        pictures,
        ["0", "1", "2"],
        transforms=(),
        seed=0,
        split=0,
        crops_per_image=1,
        batch_size=2,
    )
    return train, WholeImages(pictures, ["3", "4"])


def images_of(
    counter: CellCounter,
    arrays: Sequence[NDArray[np.uint8]],
    scale: float = 1.0,
    names: Sequence[str] | None = None,
) -> Images:
    """Preprocess images into the network's input."""
    names = [str(index) for index in range(len(arrays))] if names is None else names
    images: Images = counter.data_preprocessor.images(arrays, scale=scale, image_ids=list(names))
    return images


def batch_of(counter: CellCounter, *pictures: tuple[NDArray[np.uint8], Points]) -> Batch:
    """Build a training batch of images."""
    points = [torch.from_numpy(points) for _, points in pictures]
    return Batch(images_of(counter, [pixels for pixels, _ in pictures]), points)
