"""DCL: one network for the count, another for the positions of the counted cells."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import Stage
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import (
    ConvFactory,
    Decoder,
    DensityOutput,
    DensityTarget,
    FeatureShape,
)
from cellbench.registry import COUNTERS, DECODERS, TARGETS, PartRegistry
from cellbench_plugins.methods._dilated import index_of_stride, init_conv_

COUNTING, LOCALISING = "counter", "localiser"


@DECODERS.register_module()
class GlobalMessages(Decoder):
    """Global message passing of DCL: a non-local block, then two convolutions.

    1x1 convolutions compute a query, a key and a value for each position; the softmax over all
    positions of the scaled cosines of queries and keys weights the values, which are added to the
    features after a 1x1 convolution. The registered convolution of the decoder follows, twice.

    Source: the Global Message Passing of DCL, arXiv:2503.13989; the form is that of non-local
        networks, arXiv:1711.07971.

    Differs: an approximation; the form of the paper's messages has not been read.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int | None = None,
        channels: int = 128,
        gain: float = 1.0,
    ) -> None:
        """Build the layers.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution.
            stride: stride of the input map, px; None for the coarsest.
            channels: number of output channels.
            gain: factor on the backbone's features.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__()
        self.level = index_of_stride("GlobalMessages", in_shapes, stride)
        self.gain = gain
        inputs = in_shapes[self.level]
        self.reduce = init_conv_(nn.Conv2d(inputs.channels, channels, 1), None)
        self.query = nn.Conv2d(channels, channels // 2, 1)
        self.key = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.message = nn.Conv2d(channels // 2, channels, 1)
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)
        self.shape = FeatureShape(channels, inputs.stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the chosen features to (B, channels, H/s, W/s)."""
        x = F.relu(self.reduce(self.gain * features[self.level]))
        x = F.relu(self.first(x + self._attend(x)))
        return F.relu(self.second(x))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).flatten(2).transpose(1, 2)[:, None]
            for layer in (self.query, self.key, self.value)
        )  # (B, 1, H W, C/2)
        # cosines: the sharpness of the attention does not depend on the scale of the features
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value, scale=query.shape[-1] ** 0.5)
        out: Tensor = self.message(attended[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


class Localiser(nn.Module):
    """U-Net of four levels that refines a coarse density map with the image.

    It has group norms, whose statistics do not depend on the batch.
    """

    def __init__(self, *, width: int = 16, prior: float = 2e-3, scale: float = 100.0) -> None:
        """Build the layers.

        Args:
            width: channels at full resolution; doubled at each coarser level.
            prior: predicted cells per px before training.
            scale: factor of the raw output over cells.
        """
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.scale = scale
        self.down = nn.ModuleList(
            _block(inputs, outputs) for inputs, outputs in zip([4, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(_block(coarse + fine, fine) for fine, coarse in pairwise(widths))
        self.read = nn.Conv2d(width, 1, 1)
        nn.init.normal_(self.read.weight, std=0.1 * prior * scale / width**0.5)
        assert self.read.bias is not None  # for the type checker: nn.Conv2d has one
        nn.init.constant_(self.read.bias, prior * scale)

    def forward(self, images: Tensor, coarse: Tensor) -> Tensor:
        """Predict a (B, 1, H, W) map in cells from (B, 3, H, W) images and a (B, 1, h, w) map."""
        ratio = images.shape[2] // coarse.shape[2]
        hint = F.interpolate(self.scale * coarse / ratio**2, size=images.shape[2:], mode="bilinear")
        x = torch.cat([images, hint], dim=1)
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, fine in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, size=fine.shape[2:]), fine], dim=1))
        out: Tensor = self.read(x).float() / self.scale
        return out


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        layers += [init_conv_(convolution, None), nn.GroupNorm(outputs // 8, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


@COUNTERS.register_module()
class DCL(DensityCounter):
    """DCL: a coarse density map for the count, and a U-Net that localises the counted cells.

    The counter, with global message passing, is trained first, then the localiser in a separate
    stage, whose gradient does not reach the counter. The count is the sum of the coarse map; the
    density of a prediction is the localiser's, scaled to this count, and points are its local
    maxima.

    Source: Decoupling Counting and Localization, MICCAI 2024, arXiv:2503.13989. Published for
        cells, by DLA-Count's Table 2: MAE ADI 8.4, MBM 1.4, VGG 4.1, DCC 0.8.

    Differs: an approximation, since only the abstract and a summary were read and the authors'
        repository holds none of the method. Not verified: the backbone (here VGG-16), the stride
        of the coarse map (8), the form of the message passing, all losses, the deviation of the
        targets, optimiser, rates and length of training, crops, augmentation and split, how the
        published count is read, and whether the localiser's gradient reaches the counter (here
        not).
    """

    parts: ClassVar[Mapping[str, PartRegistry]] = {
        **DensityCounter.parts,
        "fine_target": TARGETS,
    }
    answers: ClassVar[Mapping[str, str]] = {
        "density": "(B, 1, H / stride, W / stride), cells in each square of stride px, from the "
        "counter alone; the localiser behind it is not exported. The count is the sum over the "
        "squares that touch the image, 0 if that is less."
    }
    captures = False  # the computation depends on the stage
    stage: str | None = None

    def __init__(
        self,
        *,
        fine_target: DensityTarget,
        localiser_width: int = 16,
        localiser_share: float = 0.4,
        **options: Any,
    ) -> None:
        """Build the counter, then the localiser.

        Args:
            fine_target: target of the localiser, at stride 1.
            localiser_width: channels of the localiser at full resolution, a multiple of 8.
            localiser_share: share of the steps in which it is trained, in (0, 1).
            options: options of `DensityCounter`.

        Raises:
            PartError: as `DensityCounter`, or a width or share out of range.
        """
        super().__init__(**options)
        if localiser_width < 8 or localiser_width % 8:
            raise PartError(
                f"model.localiser_width: a multiple of 8 is wanted here, not {localiser_width}."
            )
        if not 0 < localiser_share < 1:
            raise PartError(
                "model.localiser_share: the localiser's share of the steps lies between 0 and 1, "
                f"not at {localiser_share}."
            )
        self.localiser = Localiser(width=localiser_width)
        self.localiser_share = localiser_share
        self.fine_target = fine_target
        if options.get("channels_last", True):
            self.localiser.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The counter's training, then the localiser's."""
        learning = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        parts = ("backbone.", "decoder.", "readout.")
        counting = tuple(part for part in parts if any(n.startswith(part) for n in learning))
        return (
            Stage(COUNTING, 1 - self.localiser_share, counting or parts),
            Stage(LOCALISING, self.localiser_share, ("localiser.",)),
        )

    def begin_step(self, stage: str, progress: float) -> None:
        """Set the network that is trained; before the first step both are."""
        self.stage = stage

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the counter's terms and `loss_localiser`; in a stage only its network's terms."""
        images = batch.images
        with torch.set_grad_enabled(self.stage != LOCALISING and torch.is_grad_enabled()):
            coarse = super().estimate(images)
        grid = (coarse.density.shape[2], coarse.density.shape[3])
        terms: dict[str, Tensor] = {}
        with torch.autocast(coarse.density.device.type, enabled=False):
            valid = self.valid(images, grid)
            if self.stage != LOCALISING:
                terms |= self.criterion(coarse, self.wanted(batch, grid), valid, batch)
        if self.stage != COUNTING:
            fine = self.localiser(images.pixels, torch.where(valid, coarse.density.detach(), 0.0))
            size = (fine.shape[2], fine.shape[3])
            wanted = self.fine_target.make(
                batch.points, images.sizes, size, stride=1, scale=images.scale
            )
            inside = self.valid(images, size)
            error = torch.where(inside, fine - wanted / self.fine_target.unit, 0.0)
            squared = (self.localiser.scale * error).square().sum()
            terms["loss_localiser"] = squared / inside.sum().clamp_min(1)
        return terms

    def estimate(self, images: Images) -> DensityOutput:
        """Compute the localiser's map, scaled to the sum of the counter's in each image."""
        coarse = super().estimate(images)
        density = self._masked(images, coarse.density)
        fine = self._masked(images, self.localiser(images.pixels, density).clamp_min(0))
        count = density.sum(dim=(1, 2, 3), keepdim=True).clamp_min(0)
        found = fine.sum(dim=(1, 2, 3), keepdim=True)
        even = self._masked(images, torch.ones_like(fine))
        # if the localiser finds nothing, the count is spread evenly
        fine = torch.where(found > 0, fine, even)
        fine = fine * (count / fine.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12))
        return DensityOutput(fine, coarse.features, 1, self.localiser.scale)

    def valid(self, images: Images, grid: tuple[int, int]) -> Tensor:
        """Compute the mask of map cells that touch the image, (B, 1, rows, columns) bool."""
        stride = images.pixels.shape[2] // grid[0]
        width, height = (images.sizes[:, axis, None, None, None] for axis in range(2))
        rows, columns = (torch.arange(size, device=images.sizes.device) * stride for size in grid)
        return (rows[:, None] < height) & (columns < width)

    def _masked(self, images: Images, density: Tensor) -> Tensor:
        return torch.where(self.valid(images, (density.shape[2], density.shape[3])), density, 0.0)
