"""DM-Count: density maps trained by optimal transport to the dots, without Gaussians."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import (
    ConvFactory,
    Decoder,
    DensityLoss,
    DensityOutput,
    FeatureShape,
)
from cellbench.registry import COUNTERS, DECODERS, LOSSES
from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins._ops.sinkhorn import sinkhorn
from cellbench_plugins.methods._dilated import index_of_stride, init_conv_

# As published, against a division by the sum of an empty map.
TINY = 1e-6


@DECODERS.register_module()
class UpsampledConvs(Decoder):
    """Decoder of DM-Count: upsampling by 2, then two 3x3 convolutions.

    Source: DM-Count, arXiv:2009.13077, whose network is that of Bayesian Loss, arXiv:1908.03684.

    Differs: the features are multiplied by `gain` first, and weights are drawn as He et al. do. The
        authors' code upsamples with aligned corners (PyTorch's `upsample_bilinear`), which shifts
        the map by up to half a cell at the borders; here cells keep their positions, so that a
        crop's map is a part of the image's.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int | None = None,
        channels: int = 128,
        hidden: int = 256,
        gain: float = 1.0,
    ) -> None:
        """Build the layers.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution; not used.
            stride: stride of the input map, px, even; None for the coarsest. The output has half.
            channels: number of output channels.
            hidden: channels between the two convolutions.
            gain: factor on the backbone's features.

        Raises:
            PartError: the backbone has no map of this stride, or it cannot be halved.
        """
        super().__init__()
        self.level = index_of_stride("UpsampledConvs", in_shapes, stride)
        inputs = in_shapes[self.level]
        if inputs.stride % 2:
            raise PartError(
                f"stride: UpsampledConvs halves the stride of its map, which {inputs.stride} px "
                "does not allow; take a coarser one."
            )
        self.gain = gain
        self.layers = nn.Sequential(
            init_conv_(nn.Conv2d(inputs.channels, hidden, 3, padding=1), None),
            nn.ReLU(inplace=True),
            init_conv_(nn.Conv2d(hidden, channels, 3, padding=1), None),
            nn.ReLU(inplace=True),
        )
        self.shape = FeatureShape(channels, inputs.stride // 2)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the chosen features to (B, channels, 2 H/s, 2 W/s)."""
        large = F.interpolate(
            self.gain * features[self.level], scale_factor=2, mode="bilinear", align_corners=False
        )
        out: Tensor = self.layers(large)
        return out


@LOSSES.register_module()
class DMCountLoss(DensityLoss):
    """Loss of DM-Count: count error, optimal transport to the dots, and total variation.

    `loss_count` is the absolute error of the count. `loss_transport` has the gradient of the
    optimal transport cost (squared px) between the map, as a distribution, and the dots; its value
    is meaningless and near 0. `loss_variation` is the L1 distance of both distributions on the
    map's grid, times the number of cells. Each is averaged over the images; the last two are 0 for
    an image without cells.

    Source: DM-Count, Wang et al., arXiv:2009.13077, Eq. 9 and the code of its authors.

    Differs: the transport is solved until it converges, on rectangles of any size, and its entropy
        is relative to both marginals (KL), in the log domain. The authors' code stops after 100
        updates in float32, where exp(-cost / 10) is 0 beyond some 30 px: on crops of 128 px with 3,
        20 and 60 random cells and a map that is independent of them, its gradient is a tenth to a
        third of ours in length, at a cosine of 0.47, 0.73 and 0.77 with ours; with 60 cells and a
        map near them three quarters, at 0.95. Its term is averaged over the images, where the
        authors' code sums over them: `transport_weight` is theirs (0.1) times the batch that they
        train with (10).
    """

    def __init__(
        self,
        *,
        count_weight: float = 1.0,
        transport_weight: float = 1.0,
        variation_weight: float = 0.01,
        eps: float = 10.0,
        iterations: int = 50,
    ) -> None:
        """Set the weights.

        Args:
            count_weight: weight of the count error.
            transport_weight: weight of the transport term.
            variation_weight: weight of the L1 distance of the distributions.
            eps: entropic regularisation of the transport, squared px of the network input.
            iterations: maximum number of Sinkhorn updates at this `eps`.

        Raises:
            PartError: a negative weight, or an `eps` that is not positive.
        """
        super().__init__()
        if min(count_weight, transport_weight, variation_weight) < 0 or not eps > 0:
            raise PartError("The weights are at least 0 and eps is more than 0.")
        self.count_weight = count_weight
        self.transport_weight = transport_weight
        self.variation_weight = variation_weight
        self.eps = eps
        self.iterations = iterations

    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the weighted terms; `target` is the number of dots per map cell."""
        inside = valid.flatten(1)
        density = torch.where(inside, output.density.flatten(1), 0.0)  # (B, M)
        dots = target.flatten(1)
        count, cells = density.sum(1), dots.sum(1)
        images = max(len(density), 1)
        share = density / (count[:, None] + TINY)
        distance = (share - dots / cells[:, None].clamp_min(TINY)).abs().sum(1)
        some = cells > 0.5
        pull = self.transport_gradient(
            density.detach(), inside, output.density.shape[2:], output, batch
        )
        return {
            "loss_count": self.count_weight * (count - cells).abs().sum() / images,
            "loss_transport": self.transport_weight * (pull * density).sum() / images,
            "loss_variation": self.variation_weight
            * torch.where(some, cells * distance, 0.0).sum()
            / images,
        }

    def transport_gradient(
        self,
        density: Tensor,
        inside: Tensor,
        grid: Sequence[int],
        output: DensityOutput,
        batch: Batch,
    ) -> Tensor:
        """Compute the gradient of the transport cost by the map cells, (B, M) float32.

        It is orthogonal to the map, because scaling a map does not change its distribution.
        """
        places = lattice((grid[0], grid[1]), output.stride, density.device)
        if not batch.points:
            return torch.zeros_like(density)
        points = pad_sequence(batch.points, batch_first=True)
        rows = pad_sequence([own.new_ones(len(own)) for own in batch.points], batch_first=True)
        cost = torch.cdist(points, places.expand(len(points), -1, -1)).square()
        columns = density.clamp_min(0) * inside
        found = sinkhorn(
            cost, rows, columns, eps=self.eps, tolerance=1e-3, iterations=self.iterations
        )
        total = columns.double().sum(1, keepdim=True) + TINY
        mean = (found.columns * columns).sum(1, keepdim=True) / total
        return ((found.columns - mean) / total * inside).float()


@COUNTERS.register_module()
class DMCount(DensityCounter):
    """DM-Count: density map of stride 8, trained by optimal transport to the dots.

    The backbone is VGG-16 by default; `model.backbone.type=VGG19` is the published one.

    Source: Wang, Liu, Samaras & Hoai, "Distribution Matching for Crowd Counting",
        arXiv:2009.13077. Published for cells, by DLA-Count's Table 2: MAE ADI 9.4, MBM 2.6, VGG
        6.0, DCC 2.6.

    Differs: VGG-16, whose weights are available; a dot is counted in the map cell that contains it,
        where the authors' code first rounds it to the nearest px; see `DMCountLoss` and the two
        configs.
    """
