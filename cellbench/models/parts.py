"""Base classes of the parts of a counter: backbone, decoder, head, matcher, losses, target.

Parts do not depend on configs. A `FeatureShape` carries channels and stride between them, so that
any backbone, decoder, convolution and head fit together.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.batch import Batch


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """Channels of a feature map, and its stride in px of the network input."""

    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """Base class of networks from images to feature maps at several strides.

    Constructors never touch disk or network: `cellbench.models.build` loads the weights that
    `arch` and `pretrained` specify.

    Attributes:
        shapes: one FeatureShape per returned map, finest first.
        arch: name of the weights file and of torchvision's model; empty if there are none.
        pretrained: "imagenet" to start from those weights, None to start from random ones.
        untrained: parameter-name prefixes that receive no gradient, each with its reason.
    """

    shapes: tuple[FeatureShape, ...]
    arch: str = ""
    pretrained: str | None = None
    untrained: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute features (B, C_i, H/s_i, W/s_i) of (B, 3, H, W) images.

        Height and width are padded to a multiple of every stride, so nothing is rounded.
        """

    def unfreeze(self) -> None:
        """Make every stage trainable; called if the pretrained weights were not found."""


def check_strides(backbone: Backbone, size_multiple: int) -> None:
    """Check that `size_multiple` is a multiple of every stride of the backbone.

    Raises:
        PartError: it is not; the message suggests the largest stride.
    """
    strides = [shape.stride for shape in backbone.shapes]
    if any(size_multiple % stride for stride in strides):
        raise PartError(
            f"model.size_multiple: inputs are padded to a multiple of every stride of the "
            f"backbone ({strides}), which {size_multiple} is not; try {max(strides)}."
        )


# Builds a registered convolution from (in_channels, out_channels), which keeps height and width.
ConvFactory = Callable[[int, int], nn.Module]


class Decoder(nn.Module, ABC):
    """Base class of networks that fuse the feature maps of a backbone into one.

    Constructors take `in_shapes: Sequence[FeatureShape]` and `conv: ConvFactory` from the
    assembly, and their own options by keyword.

    Attributes:
        shape: channels and stride of the fused map.
        ends_in_map: whether its one channel is already the density map, before the activation;
            if not, the counter adds a 1x1 convolution.
    """

    shape: FeatureShape
    ends_in_map: bool = False

    @abstractmethod
    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, C, H/s, W/s)."""


@dataclass(slots=True)
class Proposals:
    """Candidate cells of a batch, before matching or thresholding.

    Attributes:
        points: (B, P, 2) float32, (x, y) in px of the network input.
        logits: (B, P) float32; sigmoid gives the score.
        references: (P, 2) float32, position of each proposal before its offset; one whose
            reference lies in padding is neither trained nor counted.
        spacing_px: distance of neighbouring references, px of the network input; the unit in
            which losses measure distances, so that their weights hold at any resolution.
    """

    points: Tensor
    logits: Tensor
    references: Tensor
    spacing_px: float

    @property
    def scores(self) -> Tensor:
        """Scores, (B, P) float32 in [0, 1]."""
        return self.logits.sigmoid()


class Head(nn.Module, ABC):
    """Base class of networks from the fused map to proposals.

    Constructors take `in_shape: FeatureShape` from the assembly.

    Attributes:
        spacing_px: distance of neighbouring references, px of the network input.
        point_modules: names of the submodules that only move points: without a loss on points
            they are not trained.
        untrained: parameter-name prefixes that receive no gradient, each with its reason.
    """

    spacing_px: float
    point_modules: ClassVar[tuple[str, ...]] = ()
    untrained: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def forward(self, features: Tensor) -> Proposals:
        """Compute every proposal of every image, in a fixed order."""

    def peaks(self, proposals: Proposals, grid: tuple[int, int]) -> Tensor | None:
        """Select the proposals that may be counted.

        Args:
            proposals: from `forward`; logits in padding are -inf.
            grid: (height, width) of the fused map in cells.

        Returns:
            (B, P) bool, or None where all may (the default).
        """
        return None


@dataclass(slots=True)
class Pairs:
    """Matched pairs of all images of a batch, on the device of the proposals.

    Attributes:
        image: (M,) int64, index of the image in the batch.
        row: (M,) int64, index of the proposal among those of its image.
        cell: (M, 2) float32, (x, y) px of the network input.
    """

    image: Tensor
    row: Tensor
    cell: Tensor

    def __len__(self) -> int:
        return len(self.row)


class Matcher(ABC):
    """Base class of one-to-one matchers of proposals and annotated cells, image by image."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make `match_arrays` call the `match` of a class that overrides `match` alone."""
        super().__init_subclass__(**options)
        if "match" in vars(cls) and "match_arrays" not in vars(cls):
            cls.match_arrays = Matcher.match_arrays  # type: ignore[method-assign]

    @abstractmethod
    def match(
        self, proposals: Tensor, scores: Tensor, cells: Tensor, *, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Pair annotated cells with proposals, one to one.

        Several images may be matched at once, in threads: keep no state from call to call.

        Args:
            proposals: (P, 2) float, (x, y) px of the network input; on the CPU in training.
            scores: (P,) in [0, 1].
            cells: (A, 2) float, same frame.
            scale: input px per px of the original image; lengths that a matcher states in
                original px are multiplied by it.

        Returns:
            Two (min(P, A),) int64 tensors on the device of `proposals`: proposal rows, cell rows;
            empty if either is empty.
        """

    def match_arrays(
        self,
        proposals: NDArray[np.float32],
        scores: NDArray[np.float32],
        cells: NDArray[np.float32],
        *,
        scale: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pair as `match` does, on arrays; called in training. Override it to avoid tensors."""
        rows, which = self.match(
            torch.from_numpy(proposals),
            torch.from_numpy(scores),
            torch.from_numpy(cells),
            scale=scale,
        )
        return rows.numpy(), which.numpy()


class ProposalLoss(nn.Module, ABC):
    """Base class of losses of matched proposals.

    Attributes:
        trains_points: whether the proposals' points receive a gradient.
    """

    trains_points: bool = True

    @abstractmethod
    def forward(self, proposals: Proposals, pairs: Pairs, valid: Tensor) -> dict[str, Tensor]:
        """Compute the loss terms; those whose key starts with `loss` are summed and minimised.

        Args:
            proposals: (B, P, ...) of the head.
            pairs: from the matcher, over all images.
            valid: (B, P) bool; False where a proposal's reference lies in padding.
        """


@dataclass(slots=True)
class DensityOutput:
    """Output of a density network for a batch.

    Attributes:
        density: (B, 1, h, w) float32, cells in each cell of the map; padding is not masked out.
        features: (B, C, h, w) that the map was computed from.
        stride: input px that a cell of the map covers along each axis.
        scale: raw network output for one cell. Losses compare `scale * density` with
            `scale * target`, so that their magnitude is that of the published recipe.
    """

    density: Tensor
    features: Tensor
    stride: int
    scale: float = 1.0


class DensityTarget(ABC):
    """Base class of the target maps that density networks are trained on.

    Attributes:
        unit: sum of the map for one cell (1024 where each is counted in 32x32 places).
    """

    unit: float = 1.0

    @abstractmethod
    def make(
        self,
        points: Sequence[Tensor],
        sizes: Tensor,
        grid: tuple[int, int],
        *,
        stride: int,
        scale: float,
    ) -> Tensor:
        """Compute the maps of a batch; the map of an image without cells is 0.

        Args:
            points: per image (A_i, 2) float, (x, y) px of the network input.
            sizes: (B, 2), (width, height) px of the network input without padding.
            grid: (rows, columns) of the map, padding included.
            stride: input px per cell of the map.
            scale: input px per px of the original image; lengths that a target states in
                original px are multiplied by it.

        Returns:
            (B, 1, rows, columns) float32 on the device of `sizes`; image by image it sums to
            `unit` times the number of points, and is 0 in padding.
        """


class DensityLoss(nn.Module, ABC):
    """Base class of losses of density maps."""

    @abstractmethod
    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the loss terms; those whose key starts with `loss` are summed and minimised.

        Args:
            output: of the network, in float32.
            target: (B, 1, h, w) float32, in cells as `output.density` is: the map of the
                `DensityTarget`, divided by its unit.
            valid: (B, 1, h, w) bool; False where a cell of the map lies in padding.
            batch: images and points that the target was computed from.
        """
