"""Base class of matchers that minimise a summed cost."""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.parts import Matcher
from cellbench_plugins._ops.assignment import assign


class CostMatcher(Matcher):
    """One-to-one matcher of proposals and cells that minimises the summed cost per image.

    Distances are in px of the original image, so that the input scale of a data set does not
    change the balance of distance and score: the same cells at twice the resolution are matched
    alike. The assignment is solved on the CPU in float64.
    """

    def __init__(self, *, point_weight: float, score_weight: float) -> None:
        """Set the weights.

        Args:
            point_weight: weight of the geometric cost, per px of the original image.
            score_weight: weight of the score, which is in [0, 1].

        Raises:
            PartError: a weight is negative or not finite.
        """
        for name, value in (("point_weight", point_weight), ("score_weight", score_weight)):
            if not 0 <= value < float("inf"):
                raise PartError(
                    f"{type(self).__name__}: {name} is {value}; a weight is a number from 0 up."
                )
        self.point_weight = point_weight
        self.score_weight = score_weight

    @abstractmethod
    def geometric_cost(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the geometric cost of each pair.

        Args:
            distance: (P, A) px of the original image, P and A at least 1.

        Returns:
            (P, A), in px of the original image.
        """

    def match(
        self, proposals: Tensor, scores: Tensor, cells: Tensor, *, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Pair annotated cells with proposals, one to one.

        Args:
            proposals: (P, 2) float, (x, y) px of the network input, on any device.
            scores: (P,) in [0, 1].
            cells: (A, 2) float, same frame.
            scale: input px per px of the original image.

        Returns:
            Two (min(P, A),) int64 tensors on the device of `proposals`: proposal rows, ascending,
            and their cell rows; empty if either is empty.
        """
        device = proposals.device
        # By class name: the `match_arrays` of a subclass that overrides `match` calls `match`.
        rows, columns = CostMatcher.match_arrays(
            self, _array(proposals), _array(scores), _array(cells), scale=scale
        )
        return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)

    def match_arrays(
        self,
        proposals: NDArray[np.floating],
        scores: NDArray[np.floating],
        cells: NDArray[np.floating],
        *,
        scale: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pair annotated cells with proposals, as `match` does, on arrays."""
        if len(proposals) == 0 or len(cells) == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        distance = cdist(proposals, cells) / scale  # SciPy computes in float64
        cost = self.point_weight * self.geometric_cost(distance)
        cost -= self.score_weight * scores.astype(np.float64)[:, None]
        return assign(cost)


def _array(tensor: Tensor) -> NDArray[np.floating]:
    if tensor.dtype not in (torch.float32, torch.float64):  # NumPy has no bfloat16
        tensor = tensor.float()
    array: NDArray[np.floating] = tensor.numpy(force=True)
    return array
