"""VGG-16, the backbone of DLA-Count, P2PNet and most counting networks, and VGG-19."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.folding import fold_batch_norms
from cellbench.models.parts import Backbone, FeatureShape
from cellbench.registry import BACKBONES

# (channels, convolutions) of the five stages; stage i has stride 2 ** i.
Stages = Sequence[tuple[int, int]]
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
STAGES_19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

_SHIFTED = "a batch-norm follows and subtracts it: its gradient is zero whatever the loss"


@BACKBONES.register_module()
class VGG16(Backbone):
    """VGG-16 backbone with or without batch-norm and with selectable output strides.

    Each map is the output of its stage after the last ReLU, before the pool that follows; the map
    of stride 16 is stage 5 before the last pool. Stages beyond the coarsest stride are not built.
    Parameters have torchvision's names (`features.N.weight`), so its files load unchanged.

    The pools round sides down that their stride does not divide, as in torchvision; counters pad
    their inputs to a multiple of 32, so that this does not happen.

    Source: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", arXiv:1409.1556, configuration D.

    Differs: with batch-norm the biases of convolutions are loaded but not trained, because the
        normalisation subtracts them.
    """

    _stages: ClassVar[Stages] = STAGES

    def __init__(
        self,
        *,
        batch_norm: bool = True,
        strides: Sequence[int] = (4, 8, 16),
        weights: Literal["imagenet"] | None = "imagenet",
        frozen_stages: int = 0,
    ) -> None:
        """Build the stages that the strides need.

        Args:
            batch_norm: follow each convolution with batch-norm.
            strides: strides of the maps returned, ascending, from 1, 2, 4, 8, 16.
            weights: pretrained weights for `cellbench.models.build` to load; None for random.
            frozen_stages: this many stages, from the image on, are never trained, and their
                batch-norm keeps its statistics; none where the weights are not found.

        Raises:
            PartError: strides that VGG-16 has not, or more frozen stages than there are.
        """
        super().__init__()
        stages = self._stages
        name = f"VGG{sum(convolutions for _, convolutions in stages) + 3}"
        known = [2**index for index in range(len(stages))]
        if not strides or list(strides) != sorted(set(strides)) or not set(strides) <= set(known):
            raise PartError(
                f"strides: {name} gives maps of the strides {known}, named once and in this order, "
                f"not {list(strides)}."
            )
        depth = known.index(max(strides)) + 1
        if not 0 <= frozen_stages <= depth:
            raise PartError(
                f"frozen_stages: {name} with strides {list(strides)} has {depth} stages, "
                f"so 0 to {depth} can be frozen, not {frozen_stages}."
            )
        self.arch = f"{name.lower()}_bn" if batch_norm else name.lower()
        self.pretrained = weights
        self.shapes = tuple(FeatureShape(stages[known.index(s)][0], s) for s in strides)
        self.features, ends = _build(stages[:depth], batch_norm=batch_norm)
        self._taps = frozenset(ends[known.index(s)] for s in strides)
        self._batch_norm = batch_norm
        self._freeze(ends[frozen_stages - 1] if frozen_stages else 0, frozen_stages)

    def unfreeze(self) -> None:
        """Train every stage."""
        self._freeze(0, 0)

    def _freeze(self, layers: int, stages: int) -> None:
        """Freeze the first layers, and in the others the biases that a batch-norm subtracts."""
        self._frozen = layers
        untrained = {}
        for index, layer in enumerate(self.features):
            layer.requires_grad_(index >= layers)
            if index < layers and next(layer.parameters(), None) is not None:
                untrained[f"features.{index}."] = f"frozen by frozen_stages={stages}"
            elif self._batch_norm and isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.requires_grad_(False)
                untrained[f"features.{index}.bias"] = _SHIFTED
        self.untrained = untrained
        self.train(self.training)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to (B, C_i, H // s_i, W // s_i), finest first."""
        maps = []
        features = images
        layers: Iterable[nn.Module] = self.features
        if self.training and self._frozen:
            # The norms of frozen layers are folded into the convolutions at each step, which is
            # cheap: a cached copy would have to be updated whenever weights are loaded.
            frozen = fold_batch_norms(self.features[: self._frozen])
            layers = chain(frozen, self.features[self._frozen :])
        for index, layer in enumerate(layers, start=1):
            features = layer(features)
            if index in self._taps:
                maps.append(features)
        return maps

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for layer in self.features[: self._frozen]:
            layer.eval()
        return self


@BACKBONES.register_module()
class VGG19(VGG16):
    """VGG-19 backbone: `VGG16` with one more convolution in each of the last three stages.

    Source: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", arXiv:1409.1556, configuration E; the trunk of DM-Count.

    Differs: as `VGG16`.
    """

    _stages: ClassVar[Stages] = STAGES_19

    def __init__(
        self,
        *,
        batch_norm: bool = True,
        strides: Sequence[int] = (4, 8, 16),
        weights: Literal["imagenet"] | None = "imagenet",
        frozen_stages: int = 0,
    ) -> None:
        """Build the stages that the strides need.

        Args:
            batch_norm: follow each convolution with batch-norm.
            strides: strides of the maps returned, ascending, from 1, 2, 4, 8, 16.
            weights: pretrained weights for `cellbench.models.build` to load; None for random.
            frozen_stages: this many stages, from the image on, are never trained, and their
                batch-norm keeps its statistics; none where the weights are not found.

        Raises:
            PartError: strides that VGG-19 has not, or more frozen stages than there are.
        """
        super().__init__(
            batch_norm=batch_norm,
            strides=strides,
            weights=weights,
            frozen_stages=frozen_stages,
        )


def _build(stages: Stages, *, batch_norm: bool) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of the stages; return them and the index after the last layer of each stage.

    The pools stand at the start of each stage but the first. This keeps torchvision's numbering,
    and the outputs are taken before the pool.
    """
    layers: list[nn.Module] = []
    ends = []
    inputs = 3
    for stage, (channels, convolutions) in enumerate(stages):
        if stage:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            convolution = nn.Conv2d(inputs, channels, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            assert convolution.bias is not None  # for the type checker: nn.Conv2d has one
            nn.init.zeros_(convolution.bias)
            layers.append(convolution)
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            inputs = channels
        ends.append(len(layers))
    return nn.Sequential(*layers), ends
