"""Constant baseline: the mean count of the training images."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from cellbench.errors import UserError
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter, ValidationSet
from cellbench.registry import COUNTERS
from cellbench.structures import Prediction


@COUNTERS.register_module()
class MeanCount(CellCounter):
    """Constant baseline that predicts the mean count of the training images for every image.

    It has neither points nor a map, so no F1 and no GAME. Its MAE is the spread of the counts: a
    method that is not below it has learned nothing about the images.

    Source: the constant predictor, the reference of R2.

    Attributes:
        mean_count: () float64 buffer, cells per image.
    """

    needs_points: ClassVar[bool] = False
    trained_by_steps: ClassVar[bool] = False
    no_export: ClassVar[str] = "it has no network, only the mean count of its training"
    mean_count: Tensor

    def __init__(self) -> None:
        """Start from 0 cells, until `fit`."""
        super().__init__(size_multiple=1)
        self.register_buffer("mean_count", torch.zeros((), dtype=torch.float64))

    def fit(self, train: Any, validation: Any) -> bool:
        """Average the annotated counts of the training images.

        Raises:
            UserError: there is no training image.
        """
        counts = [sample.count for sample in train.samples.values()]
        if not counts:
            raise UserError("MeanCount needs a training image; the split has none.")
        self.mean_count.fill_(sum(counts) / len(counts))
        return True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raise an error: there is no training loss.

        Raises:
            NotImplementedError: always; `fit` replaces the training.
        """
        raise NotImplementedError("MeanCount is not trained by steps")

    def infer(self, images: Images) -> list[Prediction]:
        """Predict the same count for every image."""
        return [Prediction(count=float(self.mean_count)) for _ in images.image_ids]

    @property
    def calibrates_count(self) -> bool:
        """False: a corrected count would no longer be the mean of the training images."""
        return False

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Return the mean, for the record; validation is not used."""
        return {"mean_count": float(self.mean_count)}
