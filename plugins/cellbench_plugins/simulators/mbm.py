"""Simulator of MBM: purple nuclei in pink bone marrow with white vacuoles."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.registry import SIMULATORS
from cellbench.structures import Points

from ._counts import generator, quantile, stratum
from ._placing import place_apart
from ._texture import Field, enlarge, outline, ramp, signed_radius, smooth_noise, to_uint8

SIDE = 600
STREAM = 1201
REACH = 40  # half the edge of a patch; covers the halo of the largest nucleus
# Images of each donor, in the order of the real set.
DONORS = (8, 8, 8, 4, 4, 4, 4, 4)
# Optical density by channel of the two stains.
HAEMATOXYLIN = np.array([0.88, 1.0, 0.58])
EOSIN = np.array([0.26, 1.0, 0.42])
GLASS = np.array([240.0, 237.0, 240.0])

Reals = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of nucleus: frequency, radius (px), optical density, chromatin clumps, edge, halo."""

    share: float
    radius: tuple[float, float]
    density: tuple[float, float]
    clumps: float
    edge: float
    halo: float
    lobes: tuple[int, int] = (1, 1)


KINDS = (
    Kind(0.50, (9.0, 17.0), (0.75, 1.2), clumps=0.8, edge=0.12, halo=0.5),  # vesicular
    Kind(0.23, (7.0, 11.5), (1.6, 2.2), clumps=0.25, edge=0.14, halo=0.35),  # dense, round
    Kind(0.18, (8.5, 12.0), (1.4, 1.9), clumps=0.3, edge=0.15, halo=0.6, lobes=(2, 4)),  # segmented
    Kind(0.08, (6.0, 10.0), (0.45, 0.75), clumps=0.25, edge=0.5, halo=0.0),  # out of focus
    Kind(0.01, (20.0, 24.0), (0.7, 1.0), clumps=0.6, edge=0.1, halo=0.0, lobes=(2, 3)),  # giant
)


@dataclass(frozen=True, slots=True)
class Slide:
    """Properties shared by the images of a donor: stains, light, size and kinds of nuclei."""

    haematoxylin: Reals
    eosin: Reals
    glass: Reals
    shares: Reals
    size: float


@SIMULATORS.register_module(name="mbm-sim")
class MbmSimulator(Simulator):
    """Simulated bone marrow: nuclei of five kinds; red cells, clots and specks are not counted.

    Counts follow the quantiles of MBM (126 +- 33); eight donors differ in stain, light and kinds
    of nuclei. A linear regression of the count on the mean colour has an R2 of 0.45 over a whole
    set (real set: 0.48), because the area of vacuoles is drawn independently of the count.

    Source: MBM, Kainz et al., MICCAI 2015, as published with Count-ception, arXiv:1703.08710;
        appearance only, no pixel of it is used.
    """

    name = "mbm-sim"
    title = "MBM (simulated)"
    images = sum(DONORS)
    stands_for = "mbm"

    def count(self, index: int, *, seed: int = 0) -> int:
        """Return the number of annotated nuclei of image `index`, without drawing it."""
        level = stratum(index, seed=seed, images=self.images, stream=STREAM)
        return quantile(
            level, (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0), (65, 87, 99, 124, 152, 168, 196)
        )

    def donor(self, index: int) -> int:
        """Return the donor, 0 to 7, of image `index`."""
        return int(np.repeat(np.arange(len(DONORS)), DONORS)[index % self.images])

    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index`: 600 x 600 px, with its donor as the group."""
        rng = generator(seed, index, STREAM + 2)
        donor = self.donor(index)
        slide = _slide(generator(seed, donor, STREAM + 3))
        hollow, floor = _vacuoles(rng)
        kinds, radius = _choose(rng, self.count(index, seed=seed), slide)
        points = _place(rng, radius, hollow)
        pink, blue = _marrow(rng, points, hollow, floor)
        _draw_nuclei(rng, points, kinds, radius, pink, blue)
        _draw_specks(rng, blue)
        pixels = _colour(rng, slide, pink, blue)
        return SimulatedImage(pixels, points, group=f"donor-{donor + 1}")


def _slide(rng: np.random.Generator) -> Slide:
    shares = np.array([kind.share for kind in KINDS]) * rng.lognormal(0.0, 0.3, len(KINDS))
    return Slide(
        haematoxylin=HAEMATOXYLIN * rng.normal(1.0, 0.06, 3) * rng.normal(1.0, 0.1),
        eosin=EOSIN * rng.normal(1.0, 0.1, 3) * rng.lognormal(0.0, 0.2),
        glass=GLASS + rng.normal(0.0, 3.0, 3),
        shares=shares / shares.sum(),
        size=rng.normal(1.0, 0.06),
    )


def _vacuoles(rng: np.random.Generator) -> tuple[Field, Field]:
    """Draw large fat vacuoles.

    Returns:
        (SIDE, SIDE) depth inside them in px, negative outside, and a faint texture of their
        background.
    """
    grid = np.arange(0.0, SIDE, 2.0) + 1.0
    depth = np.full((len(grid), len(grid)), -1e3)
    wanted = rng.uniform(0.12, 0.48)
    for _ in range(9):
        middle, radius = rng.uniform(-60.0, SIDE + 60.0, 2), rng.uniform(45.0, 140.0)
        stretch, turn = np.exp(rng.normal(0.0, 0.15)), rng.uniform(0.0, np.pi)
        cosines, sines = outline(rng, 1, 0.06)
        dx, dy = (grid[None, :] - middle[0]) / radius, (grid[:, None] - middle[1]) / radius
        across = (dx * math.cos(turn) + dy * math.sin(turn)) * stretch
        along = (dy * math.cos(turn) - dx * math.sin(turn)) / stretch
        rho = signed_radius(across, along, cosines[0], sines[0])
        # Adjacent vacuoles flatten each other, with a septum between them.
        new = (1.0 - rho) * radius
        depth = np.where(
            depth > -6.0, np.maximum(depth, np.minimum(new, -depth - 5.0)), new.clip(min=depth)
        )
        if (depth > 0).mean() > wanted:
            break
    depth = enlarge(depth, 2)
    depth += 1.2 * smooth_noise(rng, (SIDE, SIDE), 4.0)
    floor = ramp(smooth_noise(rng, (SIDE, SIDE), 30.0), -0.5, 2.5)
    return depth, (floor * 0.1).astype(np.float32)


def _choose(rng: np.random.Generator, cells: int, slide: Slide) -> tuple[NDArray[np.intp], Reals]:
    """Draw kind and radius of each nucleus, the largest first."""
    kinds = rng.choice(len(KINDS), cells, p=slide.shares)
    low, high = np.array([kind.radius for kind in KINDS]).T
    radius = slide.size * (low[kinds] + (high - low)[kinds] * rng.beta(1.6, 2.4, cells))
    order = np.argsort(-radius, kind="stable")
    return kinds[order], radius[order].astype(np.float32)


def _place(rng: np.random.Generator, radius: Reals, hollow: Field) -> Points:
    """Place nuclei on tissue, with varying density and little contact; (N, 2) float32."""
    crowding = np.exp(0.6 * smooth_noise(rng, (SIDE, SIDE), 60.0)) * (hollow < -4.0)
    return place_apart(rng, radius, crowding, gap_px=4.0, touch=(0.6, 1.05))


def _marrow(
    rng: np.random.Generator, points: Points, hollow: Field, floor: Field
) -> tuple[Field, Field]:
    """Draw cytoplasm, red cells, gaps and the membranes of vacuoles.

    Returns:
        (SIDE, SIDE) density of eosin and of haematoxylin.
    """
    shape = (SIDE, SIDE)
    blood = ramp(smooth_noise(rng, shape, 40.0), 1.0, 1.3)
    extra = rng.uniform(0.0, SIDE, (1500, 2))
    column, row = extra.astype(int).T
    free = cKDTree(points).query(extra)[0] > 14.0
    keep = free & (rng.random(len(extra)) < 0.4 + 0.6 * blood[row, column])
    extra = extra[keep]
    red = np.concatenate([np.zeros(len(points)), blood[row, column][keep]])
    sites = np.concatenate([points, extra])
    grid = np.arange(0.0, SIDE, 2.0) + 1.0
    half = np.stack(np.meshgrid(grid, grid), axis=-1)
    for axis in (0, 1):
        half[..., axis] += 2.0 * smooth_noise(rng, half.shape[:2], 3.0)
    distance, owner = cKDTree(sites).query(half.reshape(-1, 2), [1, 2])
    distance, owner = np.asarray(distance), np.asarray(owner)[:, 0]
    gap = (distance[:, 1] - distance[:, 0]).reshape(half.shape[:2])
    many = len(sites)
    eosin = np.where(red > 0.5, rng.normal(0.62, 0.08, many), rng.lognormal(-0.68, 0.26, many))
    basic = np.where(red > 0.5, 0.0, rng.beta(1.2, 3.0, many) * 0.34)
    seam = rng.uniform(0.0, 0.8, many) ** 2 + 0.5 * red
    seam = np.minimum(seam, 1.0)[owner].reshape(gap.shape) * np.exp(-((gap / 3.5) ** 2))
    pink, blue = (
        enlarge(ndimage.gaussian_filter(tone[owner].reshape(gap.shape) * (1.0 - seam), 0.6), 2)
        for tone in (eosin, basic)
    )
    grain = 1.0 + 0.2 * smooth_noise(rng, shape, 1.0) + 0.22 * smooth_noise(rng, shape, 3.0)
    holes = ramp(smooth_noise(rng, shape, rng.uniform(3.0, 5.0)), 1.3, 1.7)
    clot = ramp(smooth_noise(rng, shape, 45.0), 1.7, 1.8)
    tissue = grain.clip(0.3) * (1.0 - 0.95 * holes * (1.0 - clot))
    pink = pink * tissue * (1.0 - clot) + 0.75 * clot * grain
    blue = blue * tissue * (1.0 - clot)
    outside = ramp(hollow, 1.0, -1.0)
    membrane = np.exp(-((hollow / 2.2) ** 2))
    pink = pink * outside + 0.4 * membrane + 0.4 * floor * (1.0 - outside)
    blue = blue * outside + 0.15 * membrane + floor * (1.0 - outside) * 0.8
    return pink.astype(np.float32), blue.astype(np.float32)


def _draw_nuclei(
    rng: np.random.Generator,
    points: Points,
    kinds: NDArray[np.intp],
    radius: Reals,
    pink: Field,
    blue: Field,
) -> None:
    """Add the nuclei, and the pale halo around some, to the stains in place."""
    chromatin = smooth_noise(rng, (SIDE + 2 * REACH, SIDE + 2 * REACH), 1.5)
    nuclei = np.zeros_like(chromatin)
    pale = np.ones_like(chromatin)
    cosines, sines = outline(rng, len(points), 0.045)
    for k, kind in enumerate(KINDS[i] for i in kinds):
        reach = min(REACH, int(1.75 * radius[k]) + 2)
        grid = np.arange(2 * reach, dtype=np.float32) + np.float32(0.5 - reach)
        left, top = int(points[k, 0]), int(points[k, 1])
        dx = (grid[None, :] - (points[k, 0] - left)) / radius[k]
        dy = (grid[:, None] - (points[k, 1] - top)) / radius[k]
        turn, stretch = rng.uniform(0.0, np.pi), math.exp(abs(rng.normal(0.0, 0.1)))
        across = (dx * math.cos(turn) + dy * math.sin(turn)) * stretch
        along = (dy * math.cos(turn) - dx * math.sin(turn)) / stretch
        rho = _lobed(rng, across, along, kind, cosines[k], sines[k])
        top, left = top + REACH - reach, left + REACH - reach
        window = np.s_[top : top + 2 * reach, left : left + 2 * reach]
        body = ramp(rho, 1.0 + kind.edge, 1.0 - kind.edge)
        rim = np.exp(-(((rho - 0.88) / 0.14) ** 2))
        texture = 1.0 + kind.clumps * (0.55 * chromatin[window] + 0.9 * rim - 0.25)
        density = rng.uniform(*kind.density) * body * texture.clip(0.25)
        np.maximum(nuclei[window], density, out=nuclei[window])
        halo = rng.random() * kind.halo * np.exp(-(((np.hypot(across, along) - 1.25) / 0.2) ** 2))
        pale[window] *= 1.0 - halo
    inner = np.s_[REACH:-REACH, REACH:-REACH]
    pink *= pale[inner]
    blue *= pale[inner]
    np.maximum(blue, nuclei[inner], out=blue)


def _lobed(
    rng: np.random.Generator,
    dx: Reals,
    dy: Reals,
    kind: Kind,
    cosines: Reals,
    sines: Reals,
) -> Reals:
    """Compute the signed radius of a nucleus of one lobe, or of several around its centre."""
    lobes = int(rng.integers(kind.lobes[0], kind.lobes[1] + 1))
    if lobes == 1:
        return signed_radius(dx, dy, cosines, sines)
    start, size = rng.uniform(0.0, 2 * np.pi), 0.78 - 0.06 * lobes
    rho: Reals = np.hypot(dx, dy) / 0.35  # a central bridge, so that the point lies on the nucleus
    for angle in start + np.arange(lobes) * 2 * np.pi / lobes + rng.normal(0.0, 0.2, lobes):
        x, y = 0.6 * math.cos(angle), 0.6 * math.sin(angle)
        lobe = size * rng.uniform(0.85, 1.15)
        rho = np.minimum(rho, np.hypot(dx - x, dy - y) / lobe)
    return rho


def _draw_specks(rng: np.random.Generator, blue: Field) -> None:
    """Add dark debris, far smaller than a nucleus."""
    specks = np.zeros_like(blue)
    many = int(rng.integers(5, 40))
    row, column = rng.integers(0, SIDE, (2, many))
    specks[row, column] = rng.gamma(2.0, 3.0, many)
    blue += ndimage.gaussian_filter(specks, 1.1)


def _colour(rng: np.random.Generator, slide: Slide, pink: Field, blue: Field) -> NDArray[np.uint8]:
    """Convert stain density to RGB, with the defocus and noise of a slide scanner."""
    strength = rng.lognormal(0.0, 0.12, 2)
    density = (strength[0] * pink)[..., None] * slide.eosin
    density += (strength[1] * blue)[..., None] * slide.haematoxylin
    density += (0.08 * pink + 0.14 * blue)[..., None] * slide.eosin
    light = slide.glass * np.exp(-density)
    light = ndimage.gaussian_filter(light, (rng.uniform(0.55, 0.9),) * 2 + (0,))
    light += rng.normal(0.0, 1.8, pink.shape)[..., None]
    return to_uint8(light)
