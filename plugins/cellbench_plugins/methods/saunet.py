"""SAU-Net: a U-Net with self-attention on its coarsest map."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cellbench.data.whole_images import WholeImages
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import ConvFactory, Decoder, FeatureShape
from cellbench.registry import BACKBONES, COUNTERS, DECODERS
from cellbench_plugins.methods._pyramids import HalvingEncoder, SelfAttention, levels_from


@BACKBONES.register_module()
class SAUNetEncoder(HalvingEncoder):
    """Encoder of SAU-Net: levels of two 3x3 convolutions with ReLU, then batch-norm; max-pools.

    Source: SAU-Net, Guo et al., 2019.
    """

    def __init__(self, *, channels: Sequence[int] = (32, 64, 128, 256)) -> None:
        """Build the levels.

        Args:
            channels: channels of each level, from stride 1 on; each level halves the resolution.

        Raises:
            PartError: no level.
        """
        super().__init__(channels, _block)


@DECODERS.register_module()
class SAUNetDecoder(Decoder):
    """Decoder of SAU-Net: self-attention on the coarsest map, then upsampling with skips.

    Upsampling is by 2x2 transposed convolutions. Any backbone whose strides double can be used.
    `attention=False` gives a U-Net with the same convolutions.

    Source: SAU-Net, Guo et al., 2019.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int = 1,
        attention: bool = True,
        pair_dropout: float = 0.5,
    ) -> None:
        """Build attention and levels.

        Args:
            in_shapes: shapes of the backbone's maps, finest first; each level has the channels of
                its skip.
            conv: the registered convolution; not used.
            stride: stride of the output map, px; one of the backbone's.
            attention: whether self-attention is applied to the coarsest map.
            pair_dropout: share of the pairs that the attention drops in training.

        Raises:
            PartError: the backbone's strides do not double from this one on.
        """
        super().__init__()
        self.used = levels_from("SAUNetDecoder", in_shapes, stride)
        below = in_shapes[self.used[-1]].channels
        self.attention = (
            SelfAttention(below, pair_dropout=pair_dropout) if attention else nn.Identity()
        )
        self.ups, self.levels = nn.ModuleList(), nn.ModuleList()
        for index in reversed(self.used[:-1]):
            channels = in_shapes[index].channels
            up = nn.ConvTranspose2d(below, channels, 2, stride=2)
            self.ups.append(nn.Sequential(up, nn.ReLU(), nn.BatchNorm2d(channels)))
            self.levels.append(_block(2 * channels, channels))
            below = channels
        self.shape = FeatureShape(below, stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, C, H/s, W/s)."""
        *finer, coarsest = (features[index] for index in self.used)
        fused: Tensor = self.attention(coarsest)
        for up, level, skip in zip(self.ups, self.levels, reversed(finer), strict=True):
            fused = level(torch.cat([skip, up(fused)], dim=1))
        return fused


@COUNTERS.register_module()
class SAUNet(DensityCounter):
    """SAU-Net: density map of stride 1 from a U-Net with self-attention on its coarsest map.

    With `whole_image_statistics`, batch-norm uses in inference the statistics of the whole,
    unaugmented training images instead of those averaged over crops in training: the paper's
    extension of batch-norm. Any backbone whose strides double can be used, and any decoder.

    Source: Guo, Stein, Wu & Krishnamurthy, "SAU-Net: A Universal Deep Network for Cell Counting",
        ACM BCB 2019. Published for cells: MBM MAE 5.7, quoted by PGC-Net.

    Differs: the extension processes all training images at once, which is not possible with 600x600
        px; here batches are processed one after another, each normalised by itself, and the moments
        of all are pooled. It is off by default: with crops of the whole images, and a moving
        average of the weights and statistics, it takes time and changes little. A linear output
        instead of a ReLU, which may die where targets are mostly zero; AdamW with one cosine
        instead of restarts; the default for `pair_dropout` is that of the paper's code, 0.5. Pixels
        have ImageNet's mean and deviation and not the training images', maps are trained at the
        config's scale on every set (theirs: 1000 on MBM, 500 on DCC, 100 on ADI and VGG), and
        batch-norm's epsilon is PyTorch's, 1e-5, not TensorFlow's, 1e-3. Kernels are drawn as He et
        al. do, not Glorot, and the last convolution starts at a prior. PyTorch's AdamW multiplies
        the decay of 1e-3 by the learning rate and spares biases and norms here; theirs takes 1e-3
        of everything at each step, at the cosine's height, 500 times as much (`saunet_published`
        has it so).
    """

    def __init__(self, *, whole_image_statistics: bool = False, **options: Any) -> None:
        """Assemble the parts; see `DensityCounter`.

        Args:
            whole_image_statistics: take batch-norm's statistics from whole training images.
            options: options of `DensityCounter`.
        """
        super().__init__(**options)
        self.whole_image_statistics = whole_image_statistics
        self._train_images: WholeImages | None = None

    def fit(self, train: Any, validation: Any) -> bool:
        """Keep the training images for batch-norm; the training itself is by steps."""
        if self.whole_image_statistics:
            self._train_images = WholeImages(train.stored, train.ids, input_scale=train.input_scale)
        return False

    def begin_inference(self) -> None:
        """Recompute the statistics of the training images: the weights may have changed."""
        if self._train_images is not None:
            self.refresh_statistics(self._train_images)

    @torch.no_grad()
    def refresh_statistics(self, images: WholeImages) -> None:
        """Set every batch-norm to the pooled mean and variance of its input over whole images."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        kept = [norm.momentum for norm in norms]
        moments = [_Moments(norm) for norm in norms]
        try:
            for norm in norms:
                norm.train()
                norm.momentum = 0.0  # the pass itself does not update the statistics
            for data, _ in images:
                self.estimate(self.data_preprocessor(data)["images"])
        finally:
            for norm, momentum, moment in zip(norms, kept, moments, strict=True):
                moment.close()
                norm.momentum = momentum
                norm.eval()
        for moment in moments:
            moment.write()


class _Moments:
    """Pooled mean and variance of the inputs of a batch-norm, collected by a hook."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm
        self.number = 0
        self.total = torch.zeros(norm.num_features, dtype=torch.float64)
        self.squares = torch.zeros(norm.num_features, dtype=torch.float64)
        self.handle = norm.register_forward_pre_hook(self._add)

    def _add(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        number = values.numel() // values.shape[1]
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        mean, variance = mean.double().cpu(), variance.double().cpu()
        self.number += number
        self.total += number * mean
        self.squares += number * (variance + mean.square())

    def close(self) -> None:
        self.handle.remove()

    def write(self) -> None:
        assert self.norm.running_mean is not None  # for the type checker: they track statistics
        assert self.norm.running_var is not None
        mean = self.total / self.number
        self.norm.running_mean.copy_(mean)
        variance = self.squares / self.number - mean.square()
        self.norm.running_var.copy_(variance.clamp_min(0))  # of a constant, but for rounding


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None  # for the type checker: nn.Conv2d has one
        nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.ReLU(), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers)
