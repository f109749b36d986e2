"""Base class of counters with scored candidates: one threshold, chosen on validation."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellbench.models.batch import Images
from cellbench.models.counter import CellCounter, ValidationSet
from cellbench.structures import Prediction


class ScoredCounter(CellCounter):
    """Base class of counters whose points are the candidates that reach a score threshold.

    Attributes:
        threshold: () float32 buffer, so that it is saved with the weights.
        counts_points: whether the count is the number of points; False where it comes from
            elsewhere, and the threshold selects only the predicted points.
    """

    threshold: Tensor
    counts_points: ClassVar[bool] = True

    def __init__(
        self, *, threshold: float, size_multiple: int = 32, channels_last: bool = True
    ) -> None:
        """Set up the preprocessing of images and the threshold.

        Args:
            threshold: least score that counts, until `calibrate` chooses one.
            size_multiple: inputs are padded to a multiple of this many px.
            channels_last: memory format of the images.
        """
        super().__init__(size_multiple=size_multiple, channels_last=channels_last)
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float32))

    @property
    def calibrates_count(self) -> bool:
        """Whether its count is corrected: where the threshold does not decide the count."""
        return not self.counts_points

    def select(self, candidates: Prediction) -> Prediction:
        """Select the candidates whose score reaches the threshold."""
        if candidates.points is None or candidates.scores is None:
            raise ValueError(f"candidates of a {type(self).__name__} have points and scores")
        keep = candidates.scores >= np.float32(self.threshold.item())
        points, scores = candidates.points[keep], candidates.scores[keep]
        count = float(len(points)) if self.counts_points else candidates.count
        return replace(candidates, count=count, points=points, scores=scores)

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Choose the threshold on validation: least MAE, if it decides the count, then most F1."""
        from cellbench.metrics.thresholds import choose_threshold

        chosen = choose_threshold(
            validation.candidates,
            validation.truth,
            radius_px=validation.radius_px,
            counted=self.counts_points,
        )
        threshold = np.float32(chosen)
        if float(threshold) < chosen:  # rounding down could admit one more score than was chosen
            threshold = np.nextafter(threshold, np.float32(np.inf))
        self.threshold.fill_(float(threshold))
        return {"threshold": float(threshold)}


def scored(points: NDArray[np.float32], scores: NDArray[np.float32]) -> Prediction:
    """Return a prediction with the number of points as its count."""
    return Prediction(count=float(len(points)), points=points, scores=scores)


def original_points(points: Tensor, images: Images, row: int) -> NDArray[np.float32]:
    """Convert points of one image to px of the original image, clipped to it.

    Args:
        points: (N, 2) float, (x, y) px of the network input.
        images: the batch.
        row: index of the image in it.

    Returns:
        (N, 2) float32; points beyond the border are moved onto it.
    """
    edge = images.sizes[row].to(points.dtype) / images.scale
    last = torch.nextafter(edge, torch.zeros_like(edge))  # half-open
    return (points / images.scale).clamp_min(0).minimum(last).float().cpu().numpy()


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context without autocast: coordinates and scores in bfloat16 would tie."""
    return torch.autocast(device_type=device.type, enabled=False)
