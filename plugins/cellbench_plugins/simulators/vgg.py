"""Simulator of VGG: blurred, overlapping fluorescent cells on dark blue."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.registry import SIMULATORS
from cellbench.structures import Points

from ._counts import generator, quantile, stratum
from ._texture import Field, outline, ramp, signed_radius, smooth_noise, to_uint8

SIDE = 256
STREAM = 1301
RADIUS_PX = 4.9
REACH = 8  # half the edge of a patch; covers every outline
FOCUS_PX = (0.7, 1.0, 1.5, 2.0, 2.5)  # blur by layer of depth


@SIMULATORS.register_module(name="vgg-sim")
class VggSimulator(Simulator):
    """Simulated fluorescence: clustered round cells at several depths of focus, uneven blue light.

    Counts follow the quantiles of VGG as distributed (176 +- 61, 74 to 317). In the real set a
    linear regression on the mean colour predicts the count (R2 0.98); here exposure and
    background vary by image, so that this does not suffice (R2 0.28).

    Source: VGG cells, Lempitsky & Zisserman, NeurIPS 2010, made with SIMCEP,
        doi:10.1109/TMI.2007.896925; appearance only, no pixel or code of either is used.
    """

    name = "vgg-sim"
    title = "VGG (simulated)"
    images = 200
    stands_for = "vgg"

    def count(self, index: int, *, seed: int = 0) -> int:
        """Return the number of cells of image `index`, without drawing it."""
        level = stratum(index, seed=seed, images=self.images, stream=STREAM)
        return quantile(
            level, (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0), (74, 97, 123, 174, 218, 257, 317)
        )

    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index`: 256 x 256 px."""
        rng = generator(seed, index, STREAM + 2)
        points = _place(rng, self.count(index, seed=seed))
        glow = _glow(rng, points)
        return SimulatedImage(_expose(rng, glow), points)


def _place(rng: np.random.Generator, cells: int) -> Points:
    """Place nearly independent cells with a varying density, at most one per pixel.

    Returns:
        (cells, 2) float32.
    """
    crowding = np.exp(rng.uniform(0.2, 0.6) * smooth_noise(rng, (SIDE, SIDE), 20.0)).ravel()
    pixel = rng.choice(SIDE**2, cells, replace=False, p=crowding / crowding.sum())
    row, column = np.divmod(pixel, SIDE)
    # Away from the edges of pixels, so that neighbours are at least half a pixel apart.
    offset = rng.uniform(0.25, 0.75, (cells, 2))
    return (np.stack([column, row], axis=1) + offset).astype(np.float32)


def _glow(rng: np.random.Generator, points: Points) -> Field:
    """Render the light of the cells, about 1 where one is in focus; (SIDE, SIDE)."""
    cells = len(points)
    size = SIDE + 2 * REACH
    layers = np.zeros((len(FOCUS_PX), size, size), dtype=np.float32)
    cosines, sines = outline(rng, cells, 0.05)
    radius = RADIUS_PX * rng.normal(1.0, 0.06, cells).clip(0.8, 1.2)
    gain = rng.normal(0.95, 0.13, cells).clip(0.55, 1.3)
    shade = rng.normal(0.0, 0.1, (cells, 2))
    # Neighbours lie at similar depths, so that whole clusters are out of focus.
    depth = smooth_noise(rng, (SIDE, SIDE), 10.0)
    column, row = points.astype(int).T
    level = depth[row, column] + rng.normal(0, 0.5, cells)
    layer = np.searchsorted([-0.6, 0.0, 0.6, 1.2], level)
    grid = np.arange(2 * REACH, dtype=np.float32) + np.float32(0.5)
    for k in range(cells):
        left, top = column[k], row[k]
        dx = (grid[None, :] - (points[k, 0] - left + REACH)) / radius[k]
        dy = (grid[:, None] - (points[k, 1] - top + REACH)) / radius[k]
        dx, dy = np.broadcast_arrays(dx, dy)
        rho = signed_radius(dx, dy, cosines[k], sines[k])
        body = gain[k] * (1.0 - 0.12 * rho**2 + shade[k, 0] * dx + shade[k, 1] * dy)
        patch = body * ramp(rho, 1.12, 0.9)
        view = layers[layer[k], top : top + 2 * REACH, left : left + 2 * REACH]
        np.maximum(view, patch, out=view)
    for blur, light in zip(FOCUS_PX, layers, strict=True):
        ndimage.gaussian_filter(light, blur, output=light)
    near = layers[0]
    far = layers[1:].sum(axis=0)
    both = np.maximum(near, far) + 0.4 * np.minimum(near, far)
    return both[REACH:-REACH, REACH:-REACH]


def _expose(rng: np.random.Generator, glow: Field) -> NDArray[np.uint8]:
    """Render blue light on an uneven background, with compression noise in red and green."""
    shape = glow.shape
    bright = smooth_noise(rng, shape, 70.0)
    bright = (bright - bright.min()) / (np.ptp(bright) + 1e-6)
    background = rng.uniform(12.0, 45.0) + rng.uniform(40.0, 85.0) * bright
    exposure = rng.uniform(150.0, 215.0)
    blue = background + exposure * glow * (0.85 + 0.3 * bright)
    # Soft saturation of the camera, from 215 up to below 255.
    blue = np.where(blue > 215.0, 255.0 - 40.0 * np.exp(-(blue - 215.0) / 40.0), blue)
    blue = blue + 2.2 * smooth_noise(rng, shape, 0.6)
    pixels = np.zeros((*shape, 3), dtype=np.float32)
    pixels[..., 0] = 1.2 * rng.standard_normal(shape) - 0.3
    pixels[..., 1] = 1.2 * rng.standard_normal(shape) - 0.3
    pixels[..., 2] = blue
    return to_uint8(pixels)
