"""DiffuseDenoise (CrowdDiff): several dot maps per image, sampled from noise and fused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.metrics.localisation import detect, pool
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter, ValidationSet
from cellbench.models.parts import Backbone, Decoder
from cellbench.models.peaks import local_maxima
from cellbench.models.preprocess import to_device
from cellbench.registry import BACKBONES, COUNTERS, DECODERS, PartRegistry
from cellbench.structures import Prediction
from cellbench_plugins._ops.diffusion import (
    clean_from_velocity,
    dot_maps,
    image_noise,
    noised,
    sample_clean,
    sampling_times,
    signal_shares,
    velocity,
)
from cellbench_plugins.methods._denoiser import CountBranch, DenoisingUNet

# The count branch predicts cells per square of this edge, px of the network input.
_COUNTED_PX = 64.0
# Factor on the score of a position beside a better one of the same cell.
_DUPLICATE_FACTOR = 0.01
# Thresholds tried on validation.
_THRESHOLDS = np.linspace(0.1, 0.9, 81, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Fused(Prediction):
    """Candidates of an image, fused from all samples, before the threshold.

    Attributes:
        heights: per sample, the height of each of its dots, in [0, 1].
    """

    heights: tuple[NDArray[np.float32], ...] = ()


@COUNTERS.register_module()
class DiffuseDenoise(CellCounter):
    """Diffusion model of dot maps: several are sampled per image, counted and fused.

    A map holds a narrow dot for each cell, with -1 around it and 1 at its top. In training, noise
    of a random time is added to the map of a crop, and the denoiser, conditioned on features of the
    image, learns to remove it; an auxiliary branch regresses the count from its maps. In inference,
    the denoiser computes a clean map from noise in `sampling_steps`, `samples` times; the noise
    comes from a generator seeded by the image's id. The count of a sample is the number of its
    local maxima of at least `threshold`; that of the image is the median over its samples. The
    points are the best-scored positions, as many as the count. A position is one where any sample
    has a dot, and its score is the mean over samples of the highest value within one map cell. Of
    neighbouring positions one keeps its score, and the others are ranked last.

    Neither sampling nor fusion uses annotations; the threshold is chosen on validation, once for
    all images. The networks are local, without attention or statistics over an image, so that whole
    images are sampled as crops are.

    Source: Ranasinghe et al., "CrowdDiff: Multi-hypothesis Crowd Density Estimation using
        Diffusion Models", arXiv:2303.12790, at first "Diffuse-Denoise-Count". Table 2 of DLA-Count:
        ADI 8.8, MBM 2.9, VGG 5.5, DCC 2.8.

    Differs: the released evaluation drops crops without cells and keeps, by the annotated count,
        the best of the samples; here all samples count and none is selected. A VGG-16 with a
        pyramid, whose weights come from ImageNet, processes the image once, where CrowdDiff starts
        from the weights of an upsampling diffusion network and takes the pixels in each of 1000
        passes; the denoiser is small, works at stride 2 and learns the velocity, from which a clean
        map follows at any time, where CrowdDiff learns the noise and its variance. So a few steps
        of DDIM suffice. Dots do not add up, and have height 1; CrowdDiff divides a Gaussian of unit
        sum by 0.8. A sample's dots are its local maxima, not the contours of a cleaned image, whose
        frame counted as one. Samples are fused by the median and by agreement; the paper's fusion
        by similarity is not in the released code.

    Attributes:
        threshold: () float32 buffer, saved with the weights.
    """

    threshold: Tensor
    shares: Tensor

    parts: ClassVar[Mapping[str, PartRegistry]] = {"backbone": BACKBONES, "decoder": DECODERS}
    no_export: ClassVar[str] = (
        "it draws noise for every picture and walks back from it in many passes of its network"
    )

    def __init__(
        self,
        *,
        backbone: Backbone,
        decoder: Decoder,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        times: int = 1000,
        sampling_steps: int = 4,
        samples: int = 3,
        noises: int = 2,
        sigma: float = 0.5,
        count_weight: float = 1e-3,
        threshold: float = 0.5,
        score_floor: float = 0.1,
        sampling_seed: int = 0,
        channels_last: bool = True,
    ) -> None:
        """Assemble the parts.

        Args:
            backbone: trunk that maps images to feature maps.
            decoder: decoder of the features that condition the denoiser, at the dot maps' stride.
            width: channels of the denoiser's finest level.
            multipliers: channels of its levels as multiples of `width`, finest first.
            times: number of times of the diffusion.
            sampling_steps: denoiser passes per sample.
            samples: dot maps per image, an odd number, so that the median is the count of one.
            noises: pairs of time and noise drawn for each crop in training.
            sigma: standard deviation of a dot in map cells.
            count_weight: weight of the count branch in the loss.
            threshold: minimum height of a dot that counts, until `calibrate` chooses one.
            score_floor: minimum height of a dot that is a candidate.
            sampling_seed: seed of the noise, combined with the image's id.
            channels_last: memory format of images and weights.

        Raises:
            PartError: inputs, padded to a multiple of 32 px, do not fit the denoiser's levels, or
                a number is out of range.
        """
        super().__init__(size_multiple=32, channels_last=channels_last)
        stride = decoder.shape.stride
        if 32 % (stride * 2 ** (len(multipliers) - 1)):
            raise PartError(
                f"model.multipliers: maps of stride {stride}, of inputs padded to a multiple of 32 "
                f"px, cannot be halved {len(multipliers) - 1} times."
            )
        if samples < 1 or samples % 2 == 0 or noises < 1 or not 1 <= sampling_steps <= times:
            raise PartError(
                "DiffuseDenoise: samples is odd, noises at least 1 and sampling_steps from 1 to "
                f"{times}, not {samples}, {noises} and {sampling_steps}."
            )
        self.backbone = backbone
        self.decoder = decoder
        self.denoiser = DenoisingUNet(decoder.shape.channels, width=width, multipliers=multipliers)
        self.counter = CountBranch(self.denoiser.widths)
        self.stride = stride
        self.times = times
        self.sampling_steps = sampling_steps
        self.samples = samples
        self.noises = noises
        self.sigma = sigma
        self.count_weight = count_weight
        self.score_floor = score_floor
        self.sampling_seed = sampling_seed
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float32))
        self.register_buffer("shares", signal_shares(times), persistent=False)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def parameter_groups(self, *, lr: float, trunk_lr: float) -> list[dict[str, Any]]:
        """Return the trunk at `trunk_lr` and the rest at `lr`, without frozen parameters."""
        trunk = [p for p in self.backbone.parameters() if p.requires_grad]
        rest = [
            parameter
            for part in (self.decoder, self.denoiser, self.counter)
            for parameter in part.parameters()
        ]
        groups = [{"params": trunk, "lr": trunk_lr}, {"params": rest, "lr": lr}]
        return [group for group in groups if group["params"]]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the denoiser's `loss_denoise` and the count branch's `loss_count`."""
        conditions, inside = self._conditions(batch.images)
        number, device = len(inside), inside.device
        grid = (inside.shape[2], inside.shape[3])
        clean = 2 * dot_maps(batch.points, grid, stride=self.stride, sigma=self.sigma) - 1
        numbers = torch.tensor([float(len(points)) for points in batch.points])
        counts = to_device(numbers, device)
        wanted = counts * (_COUNTED_PX**2 / batch.images.sizes.prod(dim=1))
        denoise = count = torch.zeros((), device=device)
        for _ in range(self.noises):
            times = torch.randint(self.times, (number,), device=device)
            share = self.shares[times].view(-1, 1, 1, 1)
            noise = torch.randn(clean.shape, device=device)
            noisy = noised(clean, noise, share) * inside
            predicted, maps = self.denoiser(noisy, self._relative(times), conditions)
            error = (predicted.float() - velocity(clean, noise, share)).square() * inside
            denoise = denoise + error.sum() / inside.sum()
            predicted_count = self.counter(maps, inside).float()
            count = count + F.l1_loss(predicted_count, wanted)
        return {
            "loss_denoise": denoise / self.noises,
            "loss_count": self.count_weight * count / self.noises,
        }

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict per image the positions with a dot in any sample, and each sample's heights."""
        drawn, inside = self.draw(images)  # (B, S, H, W)
        heights = torch.where(inside, drawn, float("-inf"))
        peaks = local_maxima(heights.flatten(0, 1)).view_as(heights) & (heights >= self.score_floor)
        places = peaks.any(dim=1)
        agreed = F.max_pool2d(drawn, 3, stride=1, padding=1).mean(dim=1).clamp(0, 1)
        # Of dots one map cell apart in different samples, one position represents the cell: that of
        # the highest agreement, then of the highest mean.
        rank = torch.where(places, agreed + 1e-3 * drawn.mean(dim=1), float("-inf"))
        agreed = torch.where(local_maxima(rank), agreed, _DUPLICATE_FACTOR * agreed)
        found: list[Prediction] = []
        for image in range(len(images)):
            rows, columns = places[image].nonzero().unbind(1)
            points = torch.stack([columns, rows], dim=1).float().add(0.5) * self.stride
            size = images.sizes[image].float()
            points = points.minimum(torch.nextafter(size, size.new_zeros(2))) / images.scale
            scores = agreed[image, rows, columns]
            own = [heights[image, s][peaks[image, s]] for s in range(self.samples)]
            found.append(
                Fused(
                    count=float(len(points)),
                    points=points.cpu().numpy(),
                    scores=scores.cpu().numpy(),
                    heights=tuple(h.cpu().numpy() for h in own),
                )
            )
        return found

    def draw(self, images: Images) -> tuple[Tensor, Tensor]:
        """Draw the samples of each image.

        Returns:
            (B, S, H, W) float32 heights in [0, 1], 0 in padding; (B, 1, H, W) bool, False there.
        """
        conditions, inside = self._conditions(images)
        noise = torch.zeros(len(images), self.samples, *inside.shape[2:])
        for own, name, (width, height) in zip(
            noise, images.image_ids, images.sizes.tolist(), strict=True
        ):
            rows, columns = -(-height // self.stride), -(-width // self.stride)
            shape = (self.samples, rows, columns)
            own[:, :rows, :columns] = image_noise(name, shape, seed=self.sampling_seed)

        def predict(noisy: Tensor, time: int) -> Tensor:
            times = torch.full((len(noisy),), time, device=noisy.device)
            masked = noisy * inside
            predicted, _ = self.denoiser(masked, self._relative(times), conditions)
            return clean_from_velocity(masked, predicted.float(), self.shares[time])

        moments = sampling_times(self.times, self.sampling_steps)
        # One sample after the other, to bound the memory for large images.
        drawn = [
            sample_clean(predict, noise[:, [s]].to(inside.device), self.shares, moments)
            for s in range(self.samples)
        ]
        return (torch.cat(drawn, dim=1) + 1) / 2 * inside, inside > 0

    @property
    def calibrates_count(self) -> bool:
        """False: the threshold determines the count."""
        return False

    def select(self, candidates: Prediction) -> Prediction:
        """Select the median of the samples' counts, and as many of the best-scored positions."""
        return _fuse(candidates, np.float32(self.threshold.item()))

    def calibrate(self, validation: ValidationSet) -> dict[str, float]:
        """Choose the threshold: least MAE on validation, then most F1, then the middle one."""
        truth = np.array([sample.count for sample in validation.truth], dtype=np.float64)
        counts = np.array([_counts(c, _THRESHOLDS) for c in validation.candidates])
        errors = np.abs(counts - truth[:, None]).mean(axis=0)
        best = np.flatnonzero(errors == errors.min())
        if len(best) > 1:
            f1 = np.array([_f1(validation, _THRESHOLDS[index]) for index in best])
            best = best[f1 == f1.max()]
        chosen = float(_THRESHOLDS[best[len(best) // 2]])
        self.threshold.fill_(chosen)
        return {"threshold": chosen}

    def _relative(self, times: Tensor) -> Tensor:
        """Scale integer times to [0, 1)."""
        return times / self.times

    def _conditions(self, images: Images) -> tuple[Tensor, Tensor]:
        """Compute the denoiser's condition, and a (B, 1, H, W) mask, 1 inside the images."""
        features = self.decoder(self.backbone(images.pixels))
        rows, columns = features.shape[2:]
        sizes = images.sizes
        across = self.stride * torch.arange(columns, device=sizes.device) < sizes[:, :1]
        down = self.stride * torch.arange(rows, device=sizes.device) < sizes[:, 1:]
        inside = (down[:, :, None] & across[:, None, :])[:, None].float()
        return self.denoiser.conditions(features), inside


def _counts(candidates: Prediction, thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the median count of the samples at each threshold, (T,)."""
    if not isinstance(candidates, Fused):
        raise ValueError("candidates of DiffuseDenoise hold the heights of its samples")
    counts = [
        len(heights) - np.searchsorted(np.sort(heights), thresholds, side="left")
        for heights in candidates.heights
    ]
    return np.median(np.array(counts, dtype=np.float64), axis=0)


def _fuse(candidates: Prediction, threshold: np.float32) -> Prediction:
    count = float(_counts(candidates, np.array([threshold]))[0])
    points, scores = candidates.points, candidates.scores
    if points is None or scores is None:
        raise ValueError("candidates of DiffuseDenoise have points and scores")
    most = np.sort(np.argsort(-scores, kind="stable")[: round(count)])
    return Prediction(count, points[most], scores[most])


def _f1(validation: ValidationSet, threshold: np.float32) -> float:
    detections = []
    for candidates, sample in zip(validation.candidates, validation.truth, strict=True):
        points = _fuse(candidates, threshold).points
        assert points is not None  # for the type checker: a fused prediction has points
        detections.append(detect(points, sample.points, validation.radius_px))
    return pool(detections).f1 or 0.0
