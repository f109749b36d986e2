"""Counter of the methods that estimate a density map: backbone, decoder, target, loss."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.parts import (
    Backbone,
    Decoder,
    DensityLoss,
    DensityOutput,
    DensityTarget,
    FeatureShape,
    check_strides,
)
from cellbench.models.peaks import local_maxima, subpixel_offsets
from cellbench.models.readout import DensityReadout
from cellbench.models.scored import ScoredCounter, full_precision
from cellbench.registry import (
    BACKBONES,
    COUNTERS,
    DECODERS,
    LOSSES,
    TARGETS,
    PartRegistry,
    check_arguments,
)
from cellbench.structures import Prediction


@COUNTERS.register_module()
class DensityCounter(ScoredCounter):
    """Counter by the sum of a density map: backbone, decoder, target, loss.

    In a config each part is a dict with its `type`; the decoder's `conv` names the convolution in
    it, and `output` has the options of the readout (see `DensityReadout`): `activation`, `scale`,
    `prior`.

    Training: the target is computed from the points at the map's stride, and the loss compares
    map and target outside the padding. Counting: the sum of the map over the image; a negative sum
    gives a count and a map of 0. Points are the map's local maxima, refined to a fraction of a
    cell; a point's score is m / (1 + m), with m the sum of the map in the window around it. Points
    whose score reaches `threshold` are predicted; it is chosen on validation for the highest F1,
    and the count does not depend on it.

    Source: Lempitsky & Zisserman, "Learning To Count Objects in Images", NIPS 2010; points as
        local maxima: Xie, Noble & Zisserman, "Microscopy cell counting and detection with fully
        convolutional regression networks", 2018.
    """

    counts_points = False
    captures = True
    answers: ClassVar[Mapping[str, str]] = {
        "density": "(B, 1, H / stride, W / stride), cells in each square of stride px. The count "
        "is the sum over the squares that touch the image, 0 if that is less; places are the local "
        "maxima within peak_px of the original image."
    }
    parts: ClassVar[Mapping[str, PartRegistry]] = {
        "backbone": BACKBONES,
        "decoder": DECODERS,
        "target": TARGETS,
        "loss": LOSSES,
    }

    def __init__(
        self,
        *,
        backbone: Backbone,
        target: DensityTarget,
        loss: DensityLoss,
        output: DensityReadout | Mapping[str, Any] | None = None,
        decoder: Decoder | None = None,
        threshold: float = 0.2,
        score_floor: float = 0.02,
        peak_px: float = 2.0,
        size_multiple: int = 32,
        channels_last: bool = True,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: images to maps.
            target: points to the map to learn.
            loss: compares predicted map and target.
            output: features to the density map; `DensityReadout`, or its options.
            decoder: maps to one; None uses the finest as it is.
            threshold: least score of a point, until `calibrate` chooses one.
            score_floor: candidates below it are dropped; no lower threshold can be chosen.
            peak_px: a point is the maximum within this many px of the original image along each
                axis, and at least among its 8 neighbours in the map.
            size_multiple: inputs are padded to a multiple of this many px.
            channels_last: memory format of images and weights.

        Raises:
            PartError: a stride of the backbone does not divide `size_multiple`, or an option of
                the readout is invalid.
        """
        super().__init__(
            threshold=threshold, size_multiple=size_multiple, channels_last=channels_last
        )
        check_strides(backbone, size_multiple)
        self.backbone = backbone
        self.decoder = decoder
        self.target = target
        self.criterion = loss
        if not isinstance(output, DensityReadout):
            output = _build_readout(output or {}, backbone, decoder, target.unit)
        self.readout = output
        self.score_floor = score_floor
        self.peak_px = peak_px
        self.freeze_untrained()
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def features(self, pixels: Tensor) -> Tensor:
        """Compute the (B, C, h, w) features that the map is read from, of (B, 3, H, W) images."""
        maps = self.backbone(pixels)
        features: Tensor = maps[0] if self.decoder is None else self.decoder(maps)
        return features

    def network(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the map (B, 1, h, w) and its features (B, C, h, w), float32."""
        features = self.features(pixels).float()  # not cast below, where autocast is disabled
        with full_precision(features.device):
            return self.readout(features), features

    def answer(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the map alone, see `network`."""
        return self.network(pixels)[:1]

    def reading(self) -> dict[str, float]:
        """Return the stride of the map, the reach of its maxima and the score floor."""
        return {
            "stride": self.readout.stride,
            "peak_px": self.peak_px,
            "score_floor": self.score_floor,
        }

    def estimate(self, images: Images) -> DensityOutput:
        """Run the network on images; scale and stride are added to its outputs."""
        return self._output(self.network(images.pixels))

    def _output(self, outputs: Sequence[Tensor]) -> DensityOutput:
        density, features = outputs
        return DensityOutput(density, features, self.readout.stride, self.readout.scale)

    def wanted(self, batch: Batch, grid: tuple[int, int]) -> Tensor:
        """Compute the target of the map, (B, 1, rows, columns) float32, in cells."""
        target = self.target.make(
            batch.points,
            batch.images.sizes,
            grid,
            stride=self.readout.stride,
            scale=batch.images.scale,
        )
        return target / self.target.unit

    def valid(self, images: Images, grid: tuple[int, int]) -> Tensor:
        """Compute the mask of map cells that touch the image, (B, 1, rows, columns) bool."""
        width, height = (images.sizes[:, axis, None, None, None] for axis in range(2))
        rows, columns = (
            torch.arange(size, device=images.sizes.device) * self.readout.stride for size in grid
        )
        return (rows[:, None] < height) & (columns < width)

    def terms(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Compute the terms of the training loss; not finite if the network's outputs are not."""
        output = self._output(outputs)
        grid = (output.density.shape[2], output.density.shape[3])
        with full_precision(output.density.device):
            valid = self.valid(batch.images, grid)
            terms: dict[str, Tensor] = self.criterion(
                output, self.wanted(batch, grid), valid, batch
            )
        return terms

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict for each image the count, the map, and its local maxima in reading order."""
        return self.read(self.estimate(images), images)

    def read(self, output: DensityOutput, images: Images) -> list[Prediction]:
        """Count and locate cells in a map that covers the padded images."""
        grid = (output.density.shape[2], output.density.shape[3])
        valid = self.valid(images, grid).squeeze(1)
        # where() and not a product: padding may hold values that are not finite
        density = torch.where(valid, output.density.squeeze(1), 0.0)  # (B, h, w)
        empty = density.sum(dim=(1, 2), dtype=torch.float64) <= 0
        density = torch.where(empty[:, None, None], 0.0, density)
        cells_px = output.stride / images.scale
        window = 2 * max(1, round(self.peak_px / cells_px)) + 1
        scores, places = _peaks(density, valid, window)
        keep = scores >= self.score_floor
        columns = zip(
            density.cpu().numpy(),
            (places * cells_px).cpu().numpy(),
            scores.cpu().numpy(),
            keep.cpu().numpy(),
            images.sizes.cpu().numpy(),
            strict=True,
        )
        return [
            _prediction(d, p[k], s[k], size, output.stride, images.scale)
            for d, p, s, k, size in columns
        ]


def tile_evenly(
    density: NDArray[np.float32], size: tuple[float, float], stride: float
) -> NDArray[np.float32]:
    """Resample a map of square cells so that its cells tile the image evenly; the sum stays.

    Args:
        density: (h, w), cells of `stride` px, of which the border may cut the last row and column.
        size: (width, height) px of the image.
        stride: px.

    Returns:
        (h, w) float32; `density` itself where the stride divides the image.
    """
    height, width = density.shape
    if (width * stride, height * stride) == tuple(size):
        return density
    along_y, along_x = _shares(height, size[1], stride), _shares(width, size[0], stride)
    return (along_y @ density.astype(np.float64) @ along_x.T).astype(np.float32)


def _shares(cells: int, length: float, stride: float) -> NDArray[np.float64]:
    """Return (cells, cells): share of each old cell (columns) that lies in each new one (rows)."""
    old = np.minimum(np.arange(cells + 1) * stride, length)
    new = np.arange(cells + 1) * (length / cells)
    new[-1] = length
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    overlap: NDArray[np.float64] = np.maximum(high - low, 0) / np.diff(old)
    return overlap


def _peaks(density: Tensor, valid: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Compute scores and positions of local maxima.

    Args:
        density: (B, h, w), 0 in padding.
        valid: (B, h, w) bool.
        window: odd, in cells of the map.

    Returns:
        (B, h, w) float32 scores, -1 where there is no maximum; (B, h, w, 2) positions (x, y) in
        cells of the map.
    """
    maxima = local_maxima(density.masked_fill(~valid, float("-inf")), size=window)
    mass = F.avg_pool2d(
        density.clamp_min(0)[:, None], window, stride=1, padding=window // 2
    ).squeeze(1) * float(window * window)
    scores = torch.where(maxima, mass / (1 + mass), -1.0)
    rows = torch.arange(density.shape[1], device=density.device) + 0.5
    columns = torch.arange(density.shape[2], device=density.device) + 0.5
    centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (h, w, 2)
    return scores, centres + subpixel_offsets(density)


def _prediction(
    density: NDArray[np.float32],
    points: NDArray[np.float32],
    scores: NDArray[np.float32],
    size: NDArray[np.int64],
    stride: int,
    scale: float,
) -> Prediction:
    """Build the prediction of one image; `points` are in px of the original."""
    width, height = (int(side) for side in size)
    inside = density[: -(-height // stride), : -(-width // stride)]
    inside = tile_evenly(inside, (width, height), stride)
    # half-open: the largest coordinate inside is the float below the size
    last = np.nextafter(
        np.array([width, height], dtype=np.float32) / np.float32(scale), np.float32(0)
    )
    count = float(inside.sum(dtype=np.float64))
    return Prediction(
        count=0.0 if count < 0 else count,  # negative by rounding; NaN stays NaN
        points=np.clip(points.astype(np.float32), 0, last),
        scores=scores,
        density=inside,
    )


def _shape(backbone: Backbone, decoder: Decoder | None) -> FeatureShape:
    return backbone.shapes[0] if decoder is None else decoder.shape


def _build_readout(
    options: Mapping[str, Any], backbone: Backbone, decoder: Decoder | None, unit: float
) -> DensityReadout:
    given: dict[str, Any] = {
        "in_shape": _shape(backbone, decoder),
        "ends_in_map": decoder is not None and decoder.ends_in_map,
        "unit": unit,
    }
    check_arguments(DensityReadout, options, given=tuple(given), path="model.output")
    try:
        return DensityReadout(**given, **options)
    except PartError as error:
        raise PartError(f"model.output: {error}") from None
