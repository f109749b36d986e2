"""ResNet backbone, as in the released SFCN."""

from collections.abc import Sequence
from typing import Literal, Self

from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.parts import Backbone, FeatureShape
from cellbench.registry import BACKBONES

Depth = Literal[18, 34, 50, 101]


@BACKBONES.register_module()
class ResNet(Backbone):
    """ResNet backbone with a selectable number of stages and selectable output strides.

    The stem (a convolution and a pool) has stride 4 and stage i stride 4 * 2 ** (i - 1), capped at
    `coarsest`: a stage that would be coarser keeps the resolution of the one before it, with the
    same weights. Where several stages share a stride, the output is that of the last. Parameters
    have torchvision's names, so its files load unchanged.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the third
        stage at stride 8 is SFCN's, arXiv:1903.03303.

    Differs: torchvision's variant, with the stride in the 3x3 convolution of a bottleneck.
    """

    conv_norms = (("conv1", "bn1"),)

    def __init__(
        self,
        *,
        depth: Depth = 101,
        stages: int = 3,
        coarsest: int = 8,
        strides: Sequence[int] = (8,),
        weights: Literal["imagenet"] | None = "imagenet",
        frozen_stages: int = 0,
    ) -> None:
        """Build the stem and the stages.

        Args:
            depth: number of layers of the whole network.
            stages: number of stages, 1 to 4.
            coarsest: largest stride of a stage, px.
            strides: strides of the maps returned, ascending.
            weights: pretrained weights for `cellbench.models.build` to load; None for random.
            frozen_stages: 1 freezes the stem, and each further unit one stage: these are never
                trained, and their batch-norm keeps its statistics.

        Raises:
            PartError: inconsistent arguments.
        """
        super().__init__()
        import torchvision

        if not 1 <= stages <= 4 or not 0 <= frozen_stages <= stages + 1:
            raise PartError(
                f"stages: ResNet has 1 to 4, and frozen_stages counts the stem and these, so it is "
                f"no {stages} with frozen_stages={frozen_stages}."
            )
        own = [min(4 * 2**index, coarsest) for index in range(stages)]
        known = sorted(set(own))
        if coarsest < 4 or not strides or list(strides) != [s for s in known if s in strides]:
            raise PartError(
                f"strides: ResNet with {stages} stages and coarsest={coarsest} gives maps of the "
                f"strides {known}, named once and in this order, not {list(strides)}."
            )
        self.arch = f"resnet{depth}"
        self.pretrained = weights
        whole = getattr(torchvision.models, self.arch)(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = (
            getattr(whole, name) for name in ("conv1", "bn1", "relu", "maxpool")
        )
        self.layers = [f"layer{index + 1}" for index in range(stages)]
        for name, stride, before in zip(self.layers, own, [4, *own], strict=False):
            self.add_module(name, getattr(whole, name))
            if stride == before:
                _keep_resolution(getattr(self, name))
        self.taps = [len(own) - 1 - own[::-1].index(stride) for stride in strides]
        expansion = 1 if depth < 50 else 4
        self.shapes = tuple(
            FeatureShape(64 * 2**tap * expansion, stride)
            for tap, stride in zip(self.taps, strides, strict=True)
        )
        self._freeze(["conv1", "bn1", *self.layers][: frozen_stages + 1 if frozen_stages else 0])

    def unfreeze(self) -> None:
        """Train every stage."""
        self._freeze([])

    def _freeze(self, names: Sequence[str]) -> None:
        """Freeze the stem and stages of these names, and unfreeze the others."""
        self.frozen = names
        for name in ("conv1", "bn1", *self.layers):
            getattr(self, name).requires_grad_(name not in names)
        self.untrained = {f"{name}.": "frozen by frozen_stages" for name in names}
        self.train(self.training)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to (B, C_i, H / s_i, W / s_i), finest first."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for index, name in enumerate(self.layers):
            x = getattr(self, name)(x)
            if index in self.taps:
                maps.append(x)
        return maps

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        return self


def _keep_resolution(stage: nn.Module) -> None:
    """Set all strides of a stage to 1; its weights do not change."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
