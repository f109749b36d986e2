"""Count-ception: redundant counting, each cell in 32x32 positions of the map."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.models.batch import Images
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import Backbone, DensityLoss, DensityOutput, DensityTarget, FeatureShape
from cellbench.models.readout import DensityReadout
from cellbench.registry import BACKBONES, COUNTERS, LOSSES
from cellbench.structures import Prediction
from cellbench_plugins._ops.fourier import fourier_conv2d

# Slope of every LeakyReLU below zero.
_SLOPE = 0.01
# Edge of the window of a position of the map, px.
_WINDOW = 32
# Kernels from this size on are convolved by Fourier transforms.
_LARGE = 10


class _Conv(nn.Module):
    """Convolution, batch-norm, LeakyReLU; without `normalise` the norm only scales and shifts."""

    def __init__(
        self, inside: int, outside: int, kernel: int, *, padding: int = 0, normalise: bool = True
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv = nn.Conv2d(inside, outside, kernel, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        gain = nn.init.calculate_gain("leaky_relu", _SLOPE)
        nn.init.xavier_uniform_(self.conv.weight, gain=gain)
        self.large = kernel >= _LARGE
        # folding a norm needs a bias, and `fourier_conv2d` is called without one
        self.conv_norms = () if self.large else (("conv", "norm"),)

    def forward(self, x: Tensor) -> Tensor:
        x = fourier_conv2d(x, self.conv.weight) if self.large else self.conv(x)
        return F.leaky_relu(self.norm(x), _SLOPE)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; without `normalise` the norm stays in evaluation mode, at 0 and 1."""
        super().train(mode)
        if not self.normalise:
            self.norm.eval()
        return self


class _Simple(nn.Module):
    """1x1 and 3x3 convolutions side by side."""

    def __init__(self, inside: int, narrow: int, wide: int, *, normalise: bool) -> None:
        super().__init__()
        self.narrow = _Conv(inside, narrow, 1, normalise=normalise)
        self.wide = _Conv(inside, wide, 3, padding=1, normalise=normalise)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.narrow(x), self.wide(x)], dim=1)


@BACKBONES.register_module()
class CountCeptionTrunk(Backbone):
    """Full-resolution trunk of Count-ception; two large kernels cover a window of 32 px.

    Its map is 32 px larger than the image along each axis: the receptive field of row y is the rows
    y - 32 to y and a few more on both sides.

    Source: Count-ception, Cohen et al., ICCV workshops 2017, Figure 3; every kernel is followed by
        batch-norm and LeakyReLU, and starts from Xavier's distribution.

    Differs: the 14x14 and 18x18 kernels are convolved by Fourier transforms, which gives the same
        result in a fraction of the time. Convolutions before batch-norm have no bias, which it
        would remove.
    """

    def __init__(self, *, normalise: bool = True) -> None:
        """Build the layers up to the 64 features from which the map is computed.

        Args:
            normalise: normalise by the moments of each batch; else batch-norms only scale and
                shift.
        """
        super().__init__()
        conv = partial(_Conv, normalise=normalise)
        simple = partial(_Simple, normalise=normalise)
        self.shapes = (FeatureShape(64, 1),)
        self.layers = nn.Sequential(
            conv(3, 64, 3, padding=_WINDOW),
            simple(64, 16, 16),
            simple(32, 16, 32),
            conv(48, 16, 14),
            simple(16, 112, 48),
            simple(160, 64, 32),
            simple(96, 40, 40),
            simple(80, 32, 96),
            conv(128, 32, 18),
            conv(32, 64, 1),
            conv(64, 64, 1),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute one map, (B, 64, H + 32, W + 32)."""
        return [self.layers(images)]


@LOSSES.register_module()
class MapL1(DensityLoss):
    """Mean absolute error of the map, `loss_map`; 0 for a batch without map cells.

    Source: Count-ception, Cohen et al., ICCV workshops 2017, section 3.
    """

    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Any
    ) -> dict[str, Tensor]:
        """Average the error over the map cells outside padding, at the output's scale."""
        error = torch.where(valid, output.density - target, 0.0).abs().sum()
        return {"loss_map": output.scale * error / valid.sum().clamp_min(1)}


@COUNTERS.register_module()
class CountCeption(DensityCounter):
    """Redundant counting: a map of the number of cells in the 32x32 px around each position.

    Each cell is counted 1024 times, so that errors average out: the count is the sum of the map
    divided by 1024. Points are found by inverting the sum over windows: a Wiener filter turns the
    map into spots at the cells, and their maxima are the points. The density of a prediction is
    that of the spots, scaled to the count.

    Source: Count-ception, Cohen et al., ICCV workshops 2017; MAE published, from memory: VGG
        2.3 +- 0.4 (50 training images), MBM 8.3 +- 2.3 (15), ADI 19.4 +- 2.2 (50); VGG's by a
        public table too, the others not verified here.

    Differs: by default batch-norm normalises, as in the public PyTorch port. The authors' Theano
        code computes the training loss with the network in evaluation mode, whose means and
        deviations stay at 0 and 1: there it only scales and shifts (`normalise=False` of trunk and
        counter). By default the last layer has neither batch-norm nor LeakyReLU (`last_norm`):
        after a batch-norm that normalises, the mean of a batch's map is nearly the same whatever
        the number of cells. The paper shows positions of cells, but not how they are found.
        Pixels have ImageNet's mean and deviation; the authors' code takes them raw, 0 to 255.
    """

    answers: ClassVar[Mapping[str, str]] = {
        "density": "(B, 1, H + 32, W + 32), place (y, x) of which counts the cells in the window "
        "of 32 px that ends there, as a 1024th each. The count is the sum over the first height + "
        "32 rows and width + 32 columns, 0 if that is less."
    }

    def __init__(
        self,
        *,
        backbone: Backbone,
        target: DensityTarget,
        loss: DensityLoss,
        scale: float = 1.0,
        prior: float = 2e-3,
        last_norm: bool = False,
        normalise: bool = True,
        spot_px: float = 1.5,
        noise: float = 0.005,
        threshold: float = 0.2,
        score_floor: float = 0.02,
        peak_px: float = 2.0,
        size_multiple: int = 1,
        channels_last: bool = True,
    ) -> None:
        """Assemble the parts.

        Args:
            backbone: trunk whose map is 32 px larger than its images.
            target: redundant map of the points.
            loss: error of the predicted map.
            scale: factor on the map's values in training.
            prior: cells per square px of the network input, before training.
            last_norm: compute the map as published: 1x1 convolution, batch-norm, LeakyReLU.
            normalise: whether that batch-norm normalises; see `CountCeptionTrunk`.
            spot_px: sigma of the spots, px of the network input.
            noise: noise of the map, relative to the largest gain of a window; the Wiener filter
                suppresses frequencies whose gain is lower.
            threshold: minimum score of a point, until `calibrate` chooses one.
            score_floor: candidates below it are dropped.
            peak_px: see `DensityCounter`.
            size_multiple: inputs are padded to a multiple of this, px.
            channels_last: memory format of images and weights.
        """
        shape = backbone.shapes[0]
        last: nn.Module | None = None
        if last_norm:
            last = _Conv(shape.channels, 1, 1, normalise=normalise)
            shape = FeatureShape(1, shape.stride)
        super().__init__(
            backbone=backbone,
            target=target,
            loss=loss,
            output=DensityReadout(
                shape, scale=scale, prior=prior, ends_in_map=last_norm, unit=target.unit
            ),
            threshold=threshold,
            score_floor=score_floor,
            peak_px=peak_px,
            size_multiple=size_multiple,
            channels_last=channels_last,
        )
        self.last = last
        self.spot_px = spot_px
        self.noise = noise

    def features(self, pixels: Tensor) -> Tensor:
        """Compute the (B, 64, H + 32, W + 32) features, or the map itself with `last_norm`."""
        features: Tensor = self.backbone(pixels)[0]
        return features if self.last is None else self.last(features)

    def valid(self, images: Images, grid: tuple[int, int]) -> Tensor:
        """Compute the mask of positions that touch the image, with the redundant map's margin."""
        around = grid[0] - images.pixels.shape[2]
        width, height = (images.sizes[:, axis, None, None, None] + around for axis in range(2))
        rows, columns = (torch.arange(size, device=images.sizes.device) for size in grid)
        return (rows[:, None] < height) & (columns < width)

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict per image the count, the spots, and their maxima in reading order."""
        output = self.estimate(images)
        grid = (output.density.shape[2], output.density.shape[3])
        # where() and not a product: padding may hold any value, even NaN
        density = torch.where(self.valid(images, grid), output.density, 0.0)
        count = density.sum(dim=(2, 3), keepdim=True, dtype=torch.float64).clamp_min(0)
        found = spots(density, window=_WINDOW, sigma=self.spot_px, noise=self.noise)
        inside = self.valid(images, (found.shape[2], found.shape[3]))
        found = torch.where(inside, found, 0.0).clamp_min(0).double()
        total = found.sum(dim=(2, 3), keepdim=True)
        # if there is no spot, the count is spread evenly
        even = inside / inside.sum(dim=(2, 3), keepdim=True)
        found = torch.where(total > 0, found / total.clamp_min(1e-30), even) * count
        return self.read(replace(output, density=found.float()), images)


def spots(density: Tensor, *, window: int, sigma: float, noise: float) -> Tensor:
    """Invert the sum over windows: each dot becomes an approximately Gaussian spot.

    The gain of the window falls with the frequency and is 0 at some frequencies; the filter (a
    Wiener filter times a Gaussian) divides by it where it exceeds the noise.

    Args:
        density: (B, 1, H + window, W + window), redundant counts / window^2; 0 beyond the image.
        window: edge of the window, even, px.
        sigma: standard deviation of the spots, px.
        noise: noise of the map, relative to the gain at frequency 0.

    Returns:
        (B, 1, H, W); a dot's spot sums to about 1, and may be negative around it.
    """
    rows, columns = density.shape[2], density.shape[3]
    # zero padding, so that the two ends of a row do not interact
    size = (rows + window, columns + window)
    spectrum = torch.fft.rfft2(density.float(), s=size)
    gain_y = _gain(torch.fft.fftfreq(size[0], device=density.device), window)
    gain_x = _gain(torch.fft.rfftfreq(size[1], device=density.device), window)
    gain = gain_y[:, None] * gain_x
    frequency = torch.fft.fftfreq(size[0], device=density.device)[:, None].square()
    frequency = frequency + torch.fft.rfftfreq(size[1], device=density.device).square()
    soft = torch.exp(-2 * (torch.pi * sigma) ** 2 * frequency)
    wiener = gain * soft * (1 + noise**2) / (gain.square() + noise**2)
    sharp = torch.fft.irfft2(spectrum * wiener, s=size)
    half = window // 2
    return sharp[..., half : rows - half, half : columns - half]


def _gain(frequency: Tensor, window: int) -> Tensor:
    """Compute the transform of `RedundantCount`'s window, whose first and last px weigh 1/2."""
    turns = torch.arange(1, window // 2, device=frequency.device)
    waves = 2 * torch.cos(2 * torch.pi * torch.outer(frequency, turns)).sum(dim=1)
    return (1 + waves + torch.cos(torch.pi * frequency * window)) / window
