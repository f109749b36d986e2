"""Pictures with known cells, and the counters that are tried on them."""

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

# Some 145 px a cell, about as dense as the cells of ADI.
PX_PER_CELL = 145


@dataclass(frozen=True, slots=True)
class CounterCase:
    """A counter to test.

    Attributes:
        name: for messages.
        model: the `model` of its config.
        side: of the square pictures that it is trained with, px.
    """

    name: str
    model: Mapping[str, Any]
    side: int = 64

    def build(self) -> CellCounter:
        """The counter with random weights."""
        return build_counter(self.model, load_weights=False)

    def build_trained(self) -> tuple[CellCounter, bool]:
        """The counter, trained if it trains itself, and whether it is trained by steps."""
        torch.manual_seed(0)
        counter = self.build()
        if type(counter).fit is CellCounter.fit:
            return counter, True
        return counter, not counter.fit(*training_data(self.side))


@dataclass(slots=True)
class CounterSubject:
    """A counter under test.

    Attributes:
        case: what it is built from.
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
    """A noisy (height, width, 3) picture with dark spots, and where they are."""
    rng = np.random.default_rng(seed)
    number = width * height // PX_PER_CELL if cells is None else cells
    points = (rng.random((number, 2)) * [width, height]).astype(np.float32)
    pixels = rng.integers(150, 255, (height, width, 3), dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] //= 3
    return pixels, points


class Pictures:
    """Square pictures in memory, as a data set has them."""

    def __init__(self, number: int, side: int) -> None:
        """Draw the pictures; their ids are "0", "1" and so on."""
        self.made = {str(seed): picture(side, side, seed) for seed in range(number)}
        self.ids = sorted(self.made)
        self.side = side

    def sample(self, image_id: str) -> CellSample:
        """The annotation of a picture."""
        return CellSample(image_id, self.made[image_id][1], (self.side, self.side))

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """A picture."""
        return self.made[image_id][0]


def training_data(side: int) -> tuple[TrainingSet, WholeImages]:
    """Three images to train on and two to choose on."""
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
    """The network's input for pictures."""
    names = [str(index) for index in range(len(arrays))] if names is None else names
    images: Images = counter.data_preprocessor.images(arrays, scale=scale, image_ids=list(names))
    return images


def batch_of(counter: CellCounter, *pictures: tuple[NDArray[np.uint8], Points]) -> Batch:
    """A training batch of pictures."""
    points = [torch.from_numpy(points) for _, points in pictures]
    return Batch(images_of(counter, [pixels for pixels, _ in pictures]), points)
