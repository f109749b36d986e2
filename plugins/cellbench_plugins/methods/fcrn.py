"""FCRN: fully convolutional regression networks, A and B."""

from collections.abc import Sequence

from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import Backbone, ConvFactory, Decoder, FeatureShape
from cellbench.registry import BACKBONES, COUNTERS, DECODERS


@BACKBONES.register_module()
class FCRNA(Backbone):
    """Encoder-decoder of FCRN-A: three max-pools, then three upsamplings, without skips.

    3x3 convolutions of 32, 64 and 128 channels, each with a max-pool after it, one of 512, and
    three of 128, 64 and 32, each after a nearest upsampling by 2; all with batch-norm and ReLU.

    Source: FCRN-A of Xie, Noble & Zisserman, 2018, section 3.2; batch-norm as in the authors'
        later code.

    Differs: the paper upsamples bilinearly; nearest upsampling before a convolution is that of the
        later code. Batch-norm and orthogonal weights have PyTorch's constants, not Keras's.
    """

    def __init__(self) -> None:
        """Build the layers, with orthogonal weights."""
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in (32, 64, 128):
            layers += [*_unit(inputs, channels, 3), nn.MaxPool2d(2)]
            inputs = channels
        layers += _unit(inputs, 512, 3)
        inputs = 512
        for channels in (128, 64, 32):
            layers += [nn.Upsample(scale_factor=2), *_unit(inputs, channels, 3)]
            inputs = channels
        self.layers = nn.Sequential(*layers)
        # upsampled from stride 8 back to stride 1
        self.shapes = (FeatureShape(inputs, 1),)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images, sides multiples of 8, to one (B, 32, H, W)."""
        return [self.layers(images)]


@BACKBONES.register_module()
class FCRNB(Backbone):
    """Encoder-decoder of FCRN-B: two max-pools, then one upsampling; `FCRNBMap` completes it.

    3x3 convolutions of 32 and 64 channels, a max-pool, 3x3 of 128 and 256, a max-pool, a 5x5 of
    256, a nearest upsampling by 2, and a 5x5 of 256; all with batch-norm and ReLU.

    Source: FCRN-B of Xie, Noble & Zisserman, 2018.

    Differs: the authors' code has no FCRN-B. These are the layers of most public reimplementations;
        the paper's figure was not read, so the layers are unverified.
    """

    def __init__(self) -> None:
        """Build the layers, with orthogonal weights."""
        super().__init__()
        self.layers = nn.Sequential(
            *_unit(3, 32, 3),
            *_unit(32, 64, 3),
            nn.MaxPool2d(2),
            *_unit(64, 128, 3),
            *_unit(128, 256, 3),
            nn.MaxPool2d(2),
            *_unit(256, 256, 5),
            nn.Upsample(scale_factor=2),
            *_unit(256, 256, 5),
        )
        self.shapes = (FeatureShape(256, 2),)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images, sides multiples of 4, to one (B, 256, H/2, W/2)."""
        return [self.layers(images)]


@DECODERS.register_module()
class FCRNBMap(Decoder):
    """Last layers of FCRN-B: upsampling by 2 and a 5x5 convolution to the density map.

    Source: as `FCRNB`.
    """

    ends_in_map = True

    def __init__(
        self, in_shapes: Sequence[FeatureShape], conv: ConvFactory, *, start: float = 0.2
    ) -> None:
        """Build the convolution.

        Args:
            in_shapes: shapes of the backbone's maps; the finest is used.
            conv: the registered convolution; not used.
            start: approximate value of the map before training: cells per px times the output
                scale.

        Raises:
            PartError: the stride is odd and cannot be halved.
        """
        super().__init__()
        finest = in_shapes[0]
        if finest.stride % 2:
            raise PartError(
                f"FCRNBMap halves the stride of its backbone, which is {finest.stride}."
            )
        self.up = nn.Upsample(scale_factor=2)
        self.map = nn.Conv2d(finest.channels, 1, 5, padding=2)
        assert self.map.bias is not None  # for the type checker: nn.Conv2d has one
        nn.init.normal_(self.map.weight, std=0.1 * start / self.map.weight[0].numel() ** 0.5)
        nn.init.constant_(self.map.bias, start)
        self.shape = FeatureShape(1, finest.stride // 2)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Compute the (B, 1, H, W) map from the backbone's finest map."""
        out: Tensor = self.map(self.up(features[0]))
        return out


@COUNTERS.register_module()
class FCRN(DensityCounter):
    """FCRN: density map of stride 1 from a small convolutional encoder-decoder.

    With `FCRNA` and no decoder it is FCRN-A, with `FCRNB` and `FCRNBMap` FCRN-B. Any other backbone
    and decoder can be used.

    Source: Xie, Noble & Zisserman, "Microscopy cell counting and detection with fully
        convolutional regression networks", 2018. Published for cells, by DLA-Count's Table 2,
        which does not say which of the two: MAE ADI 20.6, MBM 2.8, VGG 17.7, DCC 5.6. Count-ception
        quotes 2.9 from the paper itself for VGG.

    Differs: the last 1x1 convolution has a bias, and starts at a prior; the authors' code has none.
        Crops with flips and quarter turns, which keep the count, instead of whole images rotated
        and zoomed by any amount, which does not; AdamW with a cosine instead of SGD in steps (see
        the configs). Pixels are normalised by ImageNet's mean and deviation per channel, not by one
        mean and deviation of the set.
    """


def _unit(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.orthogonal_(convolution.weight, gain=2**0.5)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
