"""Squared error of density maps."""

from typing import Literal

import torch
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.parts import DensityLoss, DensityOutput
from cellbench.registry import LOSSES


@LOSSES.register_module()
class DensityMSE(DensityLoss):
    """Squared error of the density map, and optionally the absolute error of the count.

    `loss_density` is the squared difference of `scale * density` and `scale * target`, averaged
    over the map cells outside padding ("mean"), or summed over them and averaged over the images
    ("sum"). `loss_count` is the absolute error of the sum of the map, in biological cells, averaged
    over the images. Both are 0 for a batch without map cells.

    Source: MCNN, Zhang et al., CVPR 2016, Eq. 1 ("sum", with a weight of 0.5); FCRN, Xie et al.,
        2018, section 3.
    """

    def __init__(
        self,
        *,
        reduction: Literal["mean", "sum"] = "mean",
        weight: float = 1.0,
        count_weight: float = 0.0,
    ) -> None:
        """Set the weights.

        Args:
            reduction: reduction of the squared error; a learning rate for "sum" fits one crop size.
            weight: weight of the squared error.
            count_weight: weight of the count error; 0 leaves it out.

        Raises:
            PartError: a negative weight.
        """
        super().__init__()
        if min(weight, count_weight) < 0:
            raise PartError(
                f"weight and count_weight are at least 0, not {weight} and {count_weight}."
            )
        self.reduction = reduction
        self.weight = weight
        self.count_weight = count_weight

    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the terms `loss_density` and, unless its weight is 0, `loss_count`."""
        # where() and not a product: padding may hold any value, even NaN
        error = torch.where(valid, output.density - target, 0.0)
        squared = (output.scale * error).square().sum()
        # the number of cells stays a tensor: reading it would wait for the device
        mean = self.reduction == "mean"
        over = valid.sum().clamp_min(1) if mean else max(len(target), 1)
        terms = {"loss_density": self.weight * squared / over}
        if self.count_weight:
            counts = error.sum(dim=(1, 2, 3)).abs()
            of_images = counts.mean() if len(counts) else counts.sum()
            terms["loss_count"] = self.count_weight * of_images
        return terms
