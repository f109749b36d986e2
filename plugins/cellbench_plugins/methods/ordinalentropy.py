"""OrdinalEntropy: CSRNet with features regularised to preserve the order of densities."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import DensityLoss, DensityOutput
from cellbench.registry import COUNTERS, LOSSES


@LOSSES.register_module()
class OrdinalEntropyLoss(DensityLoss):
    """Squared error of the density map, plus the ordinal entropy regulariser of its features.

    The non-empty map cells of each image are grouped into `levels` of equal width between the
    least and the greatest density. The centre of a level is the unit-length mean of its features.
    `loss_diversity` is minus the mean distance of the centres of two levels, weighted by the
    difference of their densities (1 at most); `loss_tightness` is the mean distance of the
    unit-length features from the centre of their level. Both are averaged over the images; an image
    with fewer than two levels has a diversity of 0, one without foreground a tightness of 0. The
    diversity is negative, down to -2, by design.

    Source: Zhang et al., "Improving Deep Regression with Ordinal Entropy", arXiv:2301.08915, Eq.
        5 to 8.

    Differs: with continuous densities nearly every map cell would be a level of its own, so that
        there would be no tightness and all pairs of cells would be compared: hence `levels`. A cell
        that is alone in its level counts in the tightness, with a distance of 0, where the authors'
        code leaves it out of the mean. By default every map cell is used, where they use every
        fourth along each axis (`downsample`). They add both terms with weight 1 to a summed squared
        error; the weight of the paper for counting is not known.
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        levels: int = 16,
        downsample: int = 1,
        foreground: float = 1e-3,
        count_weight: float = 0.0,
    ) -> None:
        """Set the regulariser.

        Args:
            weight: weight of diversity and tightness, relative to the mean squared error of
                `scale * density`.
            levels: maximum number of groups of densities in an image.
            downsample: step along each axis between the map cells that are used; 4 in the
                authors' code, whose crops are whole images.
            foreground: map cells with more biological cells than this are used.
            count_weight: weight of the absolute error of the count, in cells.

        Raises:
            PartError: a negative weight, fewer than two levels, or no step.
        """
        super().__init__()
        if min(weight, count_weight) < 0 or levels < 2 or downsample < 1:
            raise PartError(
                "Weights are at least 0, levels at least 2 and downsample at least 1, not "
                f"{weight}, {count_weight}, {levels} and {downsample}."
            )
        self.weight = weight
        self.levels = levels
        self.downsample = downsample
        self.foreground = foreground
        self.count_weight = count_weight

    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Compute `loss_density`, `loss_diversity`, `loss_tightness`, optionally `loss_count`."""
        error = torch.where(valid, output.density - target, 0.0)
        terms = {"loss_density": (output.scale * error).square().sum() / valid.sum().clamp_min(1)}
        step = self.downsample
        features = output.features[:, :, ::step, ::step].float().flatten(2).mT  # (B, P, C)
        densities = target[:, :, ::step, ::step].flatten(1)  # (B, P)
        taken = valid[:, :, ::step, ::step].flatten(1) & (densities > self.foreground)
        diversity, tightness = self.regularise(features, densities, taken)
        terms["loss_diversity"] = self.weight * diversity
        terms["loss_tightness"] = self.weight * tightness
        if self.count_weight:
            counts = error.sum(dim=(1, 2, 3)).abs()
            of_images = counts.mean() if len(counts) else counts.sum()
            terms["loss_count"] = self.count_weight * of_images
        return terms

    def regularise(
        self, features: Tensor, densities: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute diversity and tightness, both () and averaged over the images.

        Args:
            features: (B, P, C) float32.
            densities: (B, P) float32.
            taken: (B, P) bool, the map cells that are grouped.
        """
        member = self._members(densities, taken)  # (B, P, K) of 0 and 1
        number = member.sum(1)  # (B, K)
        used = number > 0
        # F.normalize and safe norms: the gradient of a plain norm at length 0 is NaN
        centres = F.normalize(member.mT @ features / number.clamp_min(1)[..., None], dim=-1)
        values = (member.mT @ densities[..., None]).squeeze(-1) / number.clamp_min(1)
        pairs = (used[:, :, None] & used[:, None, :]).triu(diagonal=1)  # (B, K, K)
        apart = (values[:, :, None] - values[:, None, :]).abs() * pairs
        weights = _spread(apart, pairs)
        between = _length(centres[:, :, None, :] - centres[:, None, :, :])
        images = max(len(features), 1)
        diversity = (weights * between).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)
        own = member @ centres  # (B, P, C): of each place its level's centre
        away = _length(F.normalize(features, dim=-1) - own)
        tightness = (away * taken).sum(1) / taken.sum(1).clamp_min(1)
        return -diversity.sum() / images, tightness.sum() / images

    def _members(self, densities: Tensor, taken: Tensor) -> Tensor:
        """Assign map cells to levels one-hot, (B, P, K) float; all 0 if a cell is not used."""
        least = densities.masked_fill(~taken, float("inf")).amin(1, keepdim=True)
        most = densities.masked_fill(~taken, float("-inf")).amax(1, keepdim=True)
        width = ((most - least) / self.levels).clamp_min(1e-12)
        level = ((densities - least) / width).nan_to_num(0, 0, 0).clamp(0, self.levels - 1).long()
        return F.one_hot(level, self.levels).to(densities.dtype) * taken[..., None]


def _spread(apart: Tensor, pairs: Tensor) -> Tensor:
    """Compute (|y_i - y_j| - least) / greatest over the pairs of an image, (B, K, K), else 0."""
    least = apart.masked_fill(~pairs, float("inf")).amin((1, 2), keepdim=True)
    most = apart.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return torch.where(pairs, (apart - least) / most, 0.0)


def _length(vectors: Tensor) -> Tensor:
    return vectors.square().sum(-1).clamp_min(1e-12).sqrt()


@COUNTERS.register_module()
class OrdinalEntropy(DensityCounter):
    """CSRNet trained with the ordinal entropy regulariser, which orders features by density.

    Inference is that of CSRNet.

    Source: Zhang et al., "Improving Deep Regression with Ordinal Entropy", arXiv:2301.08915.
        Published for cells, by DLA-Count's Table 2: MAE ADI 9.1, MBM 2.9, VGG 5.7, DCC 3.2.

    Differs: the authors released the regulariser without the training of the counting
        experiment; the features are those before the last 1x1 convolution, which is a guess.
    """
