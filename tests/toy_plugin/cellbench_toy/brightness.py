"""A method whose every number can be written down beforehand, and a transform to try it with."""

import numpy as np
import torch
from torch import Tensor, nn

from cellbench.data.contracts import Picture, Transform
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter
from cellbench.registry import COUNTERS, TRANSFORMS
from cellbench.structures import Prediction


@COUNTERS.register_module()
class Brightness(CellCounter):
    """Counts `level + gain * mean of the normalised pixels`; plain SGD raises `level` by its rate.

    Source: a toy of the cellbench tests.
    """

    def __init__(self, *, gain: float = 0.0) -> None:
        super().__init__(size_multiple=1)
        self.gain = gain
        self.level = nn.Parameter(torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """A gradient of -1, whatever the images."""
        return {"loss": -self.level}

    def infer(self, images: Images) -> list[Prediction]:
        """One count an image; no points."""
        counts = self.level + self.gain * images.pixels.mean(dim=(1, 2, 3))
        return [Prediction(count=float(count)) for count in counts]


@TRANSFORMS.register_module()
class Negative(Transform):
    """Dark becomes bright.

    Source: a toy of the cellbench tests.
    """

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """The picture with each value v replaced by 255 - v."""
        return Picture(255 - picture.pixels, picture.points)
