"""Simulator of DCC: grey phase-contrast cells of several kinds and sizes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.registry import SIMULATORS
from cellbench.structures import Points

from ._counts import generator, quantile, stratum
from ._placing import place_apart
from ._texture import Field, outline, ramp, signed_radius, smooth_noise, to_uint8

STREAM = 1401
SMALLEST, LARGEST = (306, 322), (798, 788)
TRAIN = 100
HALO_PX = 16  # margin of a patch beyond the outline

Reals = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Culture:
    """Appearance of a kind of cell; grey values are relative to the background.

    Attributes:
        radius: range of the mean radius in px.
        spread: standard deviation of the radius within an image, as a share of it.
        elongation: standard deviation of the logarithm of the ratio of the axes.
        waviness: standard deviation of the outline, as a share of the radius.
        halo: brightness of the ring outside.
        ring: darkness of the outline.
        body: range of the brightness inside.
        grain: standard deviation of the texture inside.
        nucleus: brightness of the nucleus.
        gap_px: distance between neighbours.
    """

    radius: tuple[float, float]
    spread: float
    elongation: float
    waviness: float
    halo: float
    ring: float
    body: tuple[float, float]
    grain: float
    nucleus: float
    gap_px: float


CULTURES = (
    # Adherent, flat, grey on grey: the nucleus has the most contrast.
    Culture((20.0, 36.0), 0.18, 0.35, 0.12, 22.0, 16.0, (-14.0, -2.0), 9.0, -22.0, 2.0),
    # Rounded up, floating: bright inside, dark rim, strong halo.
    Culture((10.0, 22.0), 0.12, 0.06, 0.03, 45.0, 60.0, (20.0, 60.0), 6.0, 10.0, 3.0),
    # Colonies of small cells with bright seams.
    Culture((10.0, 18.0), 0.15, 0.14, 0.07, 34.0, 22.0, (-20.0, -6.0), 7.0, -10.0, -1.0),
    # Large, dark, granular.
    Culture((16.0, 30.0), 0.2, 0.18, 0.07, 28.0, 35.0, (-34.0, -14.0), 13.0, 16.0, 3.0),
)


@SIMULATORS.register_module(name="dcc-sim")
class DccSimulator(Simulator):
    """Simulated phase contrast: four kinds of cells with halos, uneven light and debris.

    Counts have the published mean, deviation and range of DCC (34 +- 22, 0 to 101); every whole
    set holds one image without a cell. A linear regression of the count on the mean colour
    has an R2 below 0.01. The first 100 images are "train", the other 77 "test".

    Source: DCC, Marsden et al., CVPR 2018, arXiv:1711.05586; drawn from its description, for no
        copy was available.
    """

    name = "dcc-sim"
    title = "DCC (simulated)"
    images = 177
    stands_for = "dcc"

    def count(self, index: int, *, seed: int = 0) -> int:
        """Return the number of cells of image `index`, without drawing it; 0 for one per set."""
        level = stratum(index, seed=seed, images=self.images, stream=STREAM)
        return quantile(
            level,
            (0.0, 0.0056, 0.00565, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0),
            (0, 0, 2, 9, 17, 30, 47, 66, 86, 101),
        )

    def size(self, index: int, *, seed: int = 0) -> tuple[int, int]:
        """Return (width, height) in px of image `index`, from 306 x 322 to 798 x 788."""
        level = stratum(index, seed=seed, images=self.images, stream=STREAM + 4)
        level = float(ramp(level, 1 / self.images, 1 - 1 / self.images))
        bend = generator(seed, index, STREAM + 6).normal(0.0, 0.4) * level * (1.0 - level)
        low, high = np.array(SMALLEST), np.array(LARGEST)
        width, height = np.rint(low + (high - low) * np.clip([level + bend, level - bend], 0, 1))
        return int(width), int(height)

    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index`, grey in three equal channels, with its part of the set."""
        rng = generator(seed, index, STREAM + 2)
        width, height = self.size(index, seed=seed)
        culture = CULTURES[rng.integers(len(CULTURES))]
        radius = _radii(rng, self.count(index, seed=seed), culture, width * height)
        crowding = np.exp(rng.uniform(0.3, 1.2) * smooth_noise(rng, (height, width), 50.0))
        points = place_apart(rng, radius, crowding, gap_px=culture.gap_px, touch=(0.95, 1.15))
        grey = _background(rng, (height, width)) + _cells(
            rng, points, radius, culture, (height, width)
        )
        grey += _debris(rng, (height, width))
        pixels = np.repeat(to_uint8(_camera(rng, grey))[..., None], 3, axis=2)
        part = "train" if index % self.images < TRAIN else "test"
        return SimulatedImage(pixels, points, part=part)


def _radii(rng: np.random.Generator, cells: int, culture: Culture, area_px: int) -> Reals:
    """Draw the radii of the cells, largest first, small enough for all to fit."""
    mean = rng.uniform(*culture.radius)
    room = np.sqrt(0.5 * area_px / (max(cells, 1) * np.pi)) - culture.gap_px / 2
    mean = min(mean, 0.95 * room)
    radius = mean * rng.normal(1.0, culture.spread, cells).clip(0.6, 1.5)
    return np.sort(radius)[::-1].astype(np.float32)


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> Reals:
    """Draw the uneven light of an empty dish."""
    light = rng.uniform(95.0, 165.0) + rng.uniform(4.0, 14.0) * smooth_noise(rng, shape, 110.0)
    return light + rng.uniform(1.0, 3.5) * smooth_noise(rng, shape, 5.0)


def _cells(
    rng: np.random.Generator,
    points: Points,
    radius: Reals,
    culture: Culture,
    shape: tuple[int, int],
) -> Field:
    """Draw the brightness that cells add to the background, (H, W)."""
    pad = int(1.8 * radius.max(initial=0.0)) + HALO_PX
    canvas = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    texture = smooth_noise(rng, canvas.shape, 1.6)
    cosines, sines = outline(rng, len(points), culture.waviness)
    contrast = rng.uniform(0.6, 1.15)
    for k, (x, y) in enumerate(points):
        reach = min(pad, int(1.8 * radius[k]) + HALO_PX)
        left, top = int(x), int(y)
        grid = np.arange(2 * reach, dtype=np.float32) + np.float32(0.5 - reach)
        dx, dy = grid[None, :] - (x - left), grid[:, None] - (y - top)
        turn, stretch = rng.uniform(0.0, np.pi), math.exp(0.5 * rng.normal(0.0, culture.elongation))
        across = (dx * math.cos(turn) + dy * math.sin(turn)) * stretch / radius[k]
        along = (dy * math.cos(turn) - dx * math.sin(turn)) / stretch / radius[k]
        rho = signed_radius(across, along, cosines[k], sines[k])
        window = np.s_[top + pad - reach :, left + pad - reach :]
        view = canvas[window][: 2 * reach, : 2 * reach]
        grain = texture[window][: 2 * reach, : 2 * reach]
        inside, light = _phase(rng, rho, across, along, (rho - 1.0) * radius[k], grain, culture)
        # A cell covers the halo of the one below it.
        view *= 1.0 - 0.8 * inside
        view += contrast * light
    return canvas[pad : pad + shape[0], pad : pad + shape[1]]


def _phase(
    rng: np.random.Generator,
    rho: Reals,
    across: Reals,
    along: Reals,
    past_px: Reals,
    grain: Field,
    culture: Culture,
) -> tuple[Reals, Reals]:
    """Draw the mask and the brightness of one cell under phase contrast.

    Args:
        rng: random generator.
        rho: signed radius, 1 on the outline.
        across: offset from the centre along one axis, in radii.
        along: offset along the other axis.
        past_px: px past the outline, below 0 inside.
        grain: texture of deviation 1.
        culture: kind of cell.
    """
    inside = ramp(past_px, 1.0, -1.0)
    wide, faint = (np.exp(-(((past_px - 2.0) / width) ** 2)) for width in (2.6, 6.5))
    halo = culture.halo * rng.uniform(0.7, 1.3) * (0.75 * wide + 0.25 * faint)
    ring = culture.ring * rng.uniform(0.7, 1.3) * np.exp(-(((past_px + 1.5) / 1.7) ** 2))
    body = rng.uniform(*culture.body) * ramp(rho, 1.0, 0.6) + culture.grain * grain
    away = rng.normal(0.0, 0.1, 2).clip(-0.18, 0.18).astype(np.float32)
    nucleus = np.exp(-(((np.hypot(across - away[0], along - away[1])) / 0.38) ** 4))
    spots = np.exp(-((np.hypot(across + away[1], along - away[0]) / 0.12) ** 2))
    body += culture.nucleus * (nucleus + 0.8 * spots)
    return inside, halo * (1.0 - inside) + inside * body - ring


def _debris(rng: np.random.Generator, shape: tuple[int, int]) -> Reals:
    """Draw debris: specks with small halos, smaller than a cell."""
    field = np.zeros(shape, dtype=np.float32)
    many = rng.poisson(rng.gamma(1.5, 10.0))
    row, column = rng.integers(0, shape[0], many), rng.integers(0, shape[1], many)
    field[row, column] = rng.normal(0.0, 1.0, many)
    near = ndimage.gaussian_filter(field, 1.8)
    # Smoothing `near` again gives a kernel of 3.2 px in total, for less time than one such kernel.
    return 900.0 * (near - 0.8 * ndimage.gaussian_filter(near, 2.65))


def _camera(rng: np.random.Generator, grey: Reals) -> Reals:
    """Apply defocus and camera noise."""
    sharp = ndimage.gaussian_filter(grey, rng.uniform(0.6, 1.5))
    sharp += np.float32(rng.uniform(1.0, 3.5)) * rng.standard_normal(grey.shape, dtype=np.float32)
    return sharp
