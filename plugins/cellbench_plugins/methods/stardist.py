"""StarDist trained on pseudo-discs sized by the spacing of the annotated points."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.peaks import local_maxima, subpixel_offsets
from cellbench.models.scored import (
    ScoredCounter,
    full_precision,
    original_points,
    scored,
)
from cellbench.registry import COUNTERS
from cellbench.structures import Prediction
from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins._ops.polygon_nms import polygon_nms
from cellbench_plugins._ops.pseudo_masks import Discs, cell_radii, disc_labels


@COUNTERS.register_module()
class StarDist(ScoredCounter):
    """StarDist trained on pseudo-discs: object probabilities and star-convex polygons.

    A U-Net predicts an object probability and `rays` distances for every cell of its output grid.
    The target of the probability is the depth in the cell, relative to its deepest pixel; that of
    the distances is the distance to the cell's border, weighted by the depth. Peaks of the
    probability are the candidates, and non-maximum suppression of their polygons selects among
    them.

    Points have no outline, so the shape of a cell is a disc, whose radius is `radius_share` times
    the distance to the nearest neighbour, within `least_radius_px` and `most_radius_px`, cut where
    its neighbours are nearer. Depths and distances of these shapes have a closed form.

    Source: Schmidt et al., "Cell Detection with Star-convex Polygons", arXiv:1806.03535.

    Differs: only peaks of the probability (3 x 3 cells) are candidates, not each cell above a
        threshold: a peak mostly suppresses its own slope. No border of 2 px is excluded,
        which would lose the cells there. The net has batch-norm, unless norm="none", a probability
        that starts at 0.2 and distances that start at the middle of the allowed radii. In the
        authors' U-Net the last convolution of the coarsest level and of each level on the way up
        already has the channels of the next finer one (1.41 million parameters for RGB and 128
        features); here a level keeps its own (1.99 million). Weights have He initialisation, not
        Glorot's. Depths and rays are those of shapes in the plane, where the authors count pixels
        of labels, and continue beyond the border of the image, where their rays end. Pixels have
        ImageNet's mean and deviation, not percentiles. The position of a cell is its peak, with
        sub-grid refinement. The score threshold is the one of least error on validation; the
        overlap is the published default of 0.4.
    """

    answers: ClassVar[Mapping[str, str]] = {
        "logits": "(B, 1, H / grid, W / grid), whose sigmoid is how deep in a cell each square of "
        "grid px is. Peaks of it that reach the threshold are cells, unless the polygon of a "
        "better one covers more than overlap of theirs.",
        "distances": "(B, rays, H / grid, W / grid), px of the input from there to the border of "
        "the cell, the first to the right, then clockwise as one sees it",
    }

    def __init__(
        self,
        *,
        width: int = 32,
        depth: int = 3,
        features: int = 128,
        grid: Literal[1, 2, 4] = 2,
        rays: int = 32,
        norm: Literal["batch", "none"] = "batch",
        radius_share: float = 0.6,
        least_radius_px: float = 3.0,
        most_radius_px: float = 12.0,
        distance_weight: float = 0.2,
        overlap: float = 0.4,
        threshold: float = 0.5,
        score_floor: float = 0.05,
        channels_last: bool = True,
    ) -> None:
        """Build the net.

        Args:
            width: channels of the first level; each level doubles them.
            depth: number of poolings.
            features: channels of the last hidden map.
            grid: input px per cell of the output.
            rays: number of distances.
            norm: normalisation after each hidden convolution.
            radius_share: radius of a pseudo-disc per distance to the nearest neighbour.
            least_radius_px: smallest radius, px of the original image.
            most_radius_px: largest radius, px of the original image.
            distance_weight: weight of the distances in the loss.
            overlap: overlap, as a share of the smaller polygon, above which the worse one is
                dropped.
            threshold: lowest score that counts, until `calibrate` chooses one.
            score_floor: candidates below it are dropped; no lower threshold can be chosen.
            channels_last: memory format of images and weights.

        Raises:
            PartError: an invalid range of radii, or fewer than 3 rays.
        """
        super().__init__(
            threshold=threshold, size_multiple=grid * 2**depth, channels_last=channels_last
        )
        if not 0 < least_radius_px <= most_radius_px:
            raise PartError(
                f"model.least_radius_px: discs have radii from {least_radius_px} to "
                f"{most_radius_px} px, which is no range of positive lengths; give the smaller "
                "first."
            )
        if rays < 3:
            raise PartError(f"model.rays: a polygon has at least 3, not {rays}; 32 are published.")
        self.grid = grid
        self.rays = rays
        self.radius_share = radius_share
        self.radius_range_px = (least_radius_px, most_radius_px)
        self.distance_weight = distance_weight
        self.overlap = overlap
        self.score_floor = score_floor
        self.net = StarNet(
            width=width, depth=depth, features=features, grid=grid, rays=rays, norm=norm,
            start_px=0.5 * (least_radius_px + most_radius_px),
        )  # fmt: skip
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def answer(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Predict logits and distances, float32."""
        logits, distances = self.net(pixels)
        return logits.float(), distances.float()

    def reading(self) -> dict[str, float]:
        """Return the options with which the outputs are turned into cells."""
        return {
            "grid": self.grid,
            "rays": self.rays,
            "overlap": self.overlap,
            "score_floor": self.score_floor,
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of the depths, and the distances' mean error inside cells."""
        logits, distances = self.net(batch.images.pixels)
        with full_precision(logits.device):
            logits, distances = logits.float(), distances.float()
            targets = [
                self.targets(points, (logits.shape[3], logits.shape[2]), batch.images.scale)
                for points in batch.points
            ]
            depth = torch.stack([depth for depth, _ in targets])[:, None]  # (B, 1, h, w)
            wanted = torch.stack([lengths for _, lengths in targets])  # (B, R, h, w)
            valid = self._valid(batch.images, logits)[:, None]
            entropy = F.binary_cross_entropy_with_logits(logits, depth, reduction="none")
            error = (distances - wanted).abs().mean(1, keepdim=True)
            weight = depth * valid
            inside = (weight * error).sum() / weight.sum().clamp_min(1.0)
            outside = ((1 - depth) * valid * distances.abs().mean(1, keepdim=True)).sum()
            cells = valid.sum()
            return {
                "loss_depth": (entropy * valid).sum() / cells,
                "loss_distances": self.distance_weight * (inside + 1e-4 * outside / cells),
            }

    @torch.no_grad()
    def targets(self, points: Tensor, size: tuple[int, int], scale: float) -> tuple[Tensor, Tensor]:
        """Compute the target depths and distances of an image.

        Args:
            points: (A, 2) float, (x, y) px of the network input.
            size: (width, height) of the output in cells of the grid.
            scale: input px per px of the original image.

        Returns:
            (h, w) depth in [0, 1], 0 outside of cells; (R, h, w) px of the network input to the
            border, 0 outside of cells.
        """
        width, height = size
        depth = points.new_zeros(height * width)
        lengths = points.new_zeros(height * width, self.rays)
        if len(points):
            least, most = (radius * scale for radius in self.radius_range_px)
            radii = cell_radii(points, share=self.radius_share, least_px=least, most_px=most)
            labels = disc_labels(points / self.grid, radii / self.grid, size=size).flatten()
            held = labels.nonzero().squeeze(1)
            owners = labels[held] - 1
            places = lattice((height, width), float(self.grid), points.device)[held]
            discs = Discs.of(points, radii)
            deep = discs.depths(places, owners)
            deepest = deep.new_zeros(len(points)).scatter_reduce(0, owners, deep, "amax")
            depth[held] = deep / deepest[owners].clamp_min(1e-6)
            lengths[held] = discs.ray_lengths(places, owners, self.rays)
        return depth.view(height, width), lengths.T.reshape(self.rays, height, width)

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict per image all polygons that no better one overlaps, best first."""
        logits, distances = self.net(images.pixels)
        with full_precision(logits.device):
            scores = logits.float().sigmoid()[:, 0]
            inside = scores.masked_fill(~self._valid(images, logits), float("-inf"))
            peaks = local_maxima(inside) & (scores >= self.score_floor)
            shifts = subpixel_offsets(scores)
            predictions = []
            for row, (peak, score, shift, lengths) in enumerate(
                zip(peaks, scores, shifts, distances.float(), strict=True)
            ):
                y, x = peak.nonzero(as_tuple=True)
                cells = torch.stack([x, y], dim=1) + 0.5
                kept = polygon_nms(
                    cells * self.grid, lengths[:, y, x].T, score[y, x], overlap=self.overlap
                )
                points = (cells + shift[y, x])[kept] * self.grid
                predictions.append(
                    scored(original_points(points, images, row), score[y, x][kept].cpu().numpy())
                )
        return predictions

    def _valid(self, images: Images, output: Tensor) -> Tensor:
        """Compute the mask of grid cells whose centre lies in the image, (B, h, w) bool."""
        height, width = output.shape[-2:]
        x = (torch.arange(width, device=output.device) + 0.5) * self.grid
        y = (torch.arange(height, device=output.device) + 0.5) * self.grid
        sizes = images.sizes.to(x.dtype)
        return (y[:, None] < sizes[:, 1, None, None]) & (x < sizes[:, 0, None, None])


class StarNet(nn.Module):
    """U-Net of StarDist, with heads for probability and distances.

    Each level has two 3x3 convolutions; where the grid is coarser than the input, levels of
    `width` channels come first. Upsampling is nearest, skips are concatenated.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        features: int,
        grid: int,
        rays: int,
        norm: Literal["batch", "none"],
        start_px: float,
    ) -> None:
        """Build the network; `start_px` is the value of all distances before training."""
        super().__init__()
        stem: list[nn.Module] = []
        inputs = 3
        for _ in range(round(math.log2(grid))):
            stem += [_double(inputs, width, norm), nn.MaxPool2d(2)]
            inputs = width
        self.stem = nn.Sequential(*stem)
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _double(before, after, norm)
            for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _double(coarse + fine, fine, norm)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Sequential(*_convolution(width, features, norm))
        self.probability = nn.Conv2d(features, 1, 1)
        self.distances = nn.Conv2d(features, rays, 1)
        for head, start in ((self.probability, math.log(0.2 / 0.8)), (self.distances, start_px)):
            assert head.bias is not None  # for the type checker: nn.Conv2d has one
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, start)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predict logits (B, 1, H/grid, W/grid) and distances (B, R, H/grid, W/grid) in px."""
        features = self.stem(images)
        skips = []
        for index, level in enumerate(self.down):
            features = level(F.max_pool2d(features, 2) if index else features)
            skips.append(features)
        features = skips.pop()
        for level in self.up:
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = level(torch.cat([features, skips.pop()], dim=1))
        features = self.last(features)
        return self.probability(features), self.distances(features)


def _double(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(inputs, outputs, norm), *_convolution(outputs, outputs, norm)
    )


def _convolution(inputs: int, outputs: int, norm: str) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layers: list[nn.Module] = [layer]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(outputs))
    return [*layers, nn.ReLU(inplace=True)]
