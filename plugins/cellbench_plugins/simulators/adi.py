"""Simulator of ADI: packed adipocytes with thin stained walls."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.registry import SIMULATORS
from cellbench.structures import Points

from ._counts import generator, quantile, stratum
from ._texture import Field, jpeg, ramp, smooth_noise, to_uint8

SIDE = 150
STREAM = 1101
STEP = 3.0  # px of the grid on which the cells are packed
# Optical density by channel of the pink walls and of the purple nuclei.
WALL_STAIN = np.array([0.6, 1.0, 0.78], dtype=np.float32)
NUCLEUS_STAIN = np.array([0.72, 1.0, 0.6], dtype=np.float32)
GLASS = np.array([244.0, 243.0, 244.0], dtype=np.float32)

Labels = NDArray[np.intp]
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Power diagram of cells on a field wider than the image.

    Attributes:
        sites: (M, 2), px from the centre of the image.
        weights: (M,) weights of the power diagram, square px.
        void: (M,) bool, True for glass or lumen, which are no cells.
        stretch: (2,), field px per image px along x and y.
    """

    sites: Reals
    weights: Reals
    void: NDArray[np.bool_]
    stretch: Reals


@dataclass(frozen=True, slots=True)
class Raster:
    """Rasterised packing of an image; each attribute is (H, W).

    Attributes:
        owner: index of the cell.
        gap: px to the nearest wall.
        corner_gap: px to the wall of the third nearest cell.
        tone: amount of stain of the nearest wall.
    """

    owner: Labels
    gap: Field
    corner_gap: Field
    tone: Field


@SIMULATORS.register_module(name="adi-sim")
class AdiSimulator(Simulator):
    """Simulated adipocytes: a power diagram of unequal cells, thin pink walls, nuclei at corners.

    Counts follow the quantiles of ADI as distributed (155 +- 36). Stain strength, stroma and
    staining of the walls vary by image independently of the count: a linear regression of the
    count on the mean colour has an R2 of 0.19 over a whole set (real set: 0.14).

    Source: ADI as published with Count-ception, arXiv:1703.08710; appearance only, no pixel of it
        is used.
    """

    name = "adi-sim"
    title = "ADI (simulated)"
    images = 200
    stands_for = "adi"

    def count(self, index: int, *, seed: int = 0) -> int:
        """Return the number of cells of image `index`, without drawing it."""
        level = stratum(index, seed=seed, images=self.images, stream=STREAM)
        return quantile(
            level,
            (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0),
            (48, 82, 114, 134, 154, 174, 196, 238, 299),
        )

    def draw(self, index: int, *, seed: int = 0) -> SimulatedImage:
        """Draw image `index`: 150 x 150 px."""
        rng = generator(seed, index, STREAM + 2)
        cells = self.count(index, seed=seed)
        stroma = _stroma(rng)
        while True:  # repeated only for the rare packing that hides a cell
            packing = _pack(rng, cells, stroma)
            kept, raster = _rasterise(rng, cells, packing)
            points = _centres(raster.owner, kept)
            if len(points) == cells:
                break
        pixels = _stain(rng, raster, stroma)
        return SimulatedImage(jpeg(pixels, int(rng.integers(80, 94))), points)


def _stroma(rng: np.random.Generator) -> Field:
    """Draw the stroma, 0 to 1: much in few images, little in most."""
    cover = rng.beta(1.0, 3.5)
    field = smooth_noise(rng, (SIDE, SIDE), 13.0)
    return ramp(field, 1.9 - 1.7 * cover, 3.1 - 1.7 * cover).astype(np.float32)


def _pack(rng: np.random.Generator, cells: int, stroma: Field) -> Packing:
    """Draw a packing of very unequal cells, of which about `cells` lie in the image.

    Lloyd's relaxation of a power diagram on a coarse grid; the weights follow target areas.
    """
    elongation = np.exp(rng.normal(0.0, 0.09))
    stretch = np.array([elongation, 1.0 / elongation])
    half = SIDE / 2 * stretch + 12.0
    axes = [np.arange(-side + STEP / 2, side, STEP) for side in half]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=1)
    is_void = _void(rng)
    tissue = 1.0 - is_void(grid).mean()
    many = round(0.93 * cells / tissue * 4.0 * half.prod() / SIDE**2)
    sites = grid[rng.choice(len(grid), many, replace=False)]
    sites = sites + rng.uniform(-STEP / 2, STEP / 2, sites.shape)
    wanted = _wanted_areas(rng, sites / stretch, stroma) * 4.0 * half.prod() / many
    weights = 0.5 * wanted / np.pi
    for _ in range(12):
        power, owner = (table[:, 0] for table in _nearest(sites, weights, grid, 1))
        area = np.bincount(owner, minlength=many) * STEP**2
        own = area > 0
        for axis in (0, 1):
            total = np.bincount(owner, grid[:, axis], many) * STEP**2
            sites[own, axis] = total[own] / area[own]
        weights += 0.35 * (wanted - area) / np.pi
        # A cell without any area restarts at a random site, with a weight that gives it that site.
        for cell in np.flatnonzero(~own):
            spot = rng.integers(len(grid))
            sites[cell] = grid[spot]
            weights[cell] = 8.0 - power[spot]
    void = is_void(sites)
    owner = _nearest(sites, weights, grid, 1)[1][:, 0]
    stretch = stretch * _zoom(np.abs(grid / (SIDE / 2 * stretch)).max(axis=1), owner, void, cells)
    return Packing(sites, weights, void, stretch)


def _wanted_areas(rng: np.random.Generator, places: Reals, stroma: Field) -> Reals:
    """Draw target areas of mean about 1: mostly similar, some tiny, smaller in the stroma."""
    many = len(places)
    areas = rng.lognormal(0.0, rng.uniform(0.3, 0.6), many)
    tiny = rng.random(many) < rng.uniform(0.15, 0.4)
    areas[tiny] = rng.uniform(0.08, 0.35, int(tiny.sum()))
    column, row = np.clip((places + SIDE / 2).astype(int), 0, SIDE - 1).T
    areas *= 1.0 - 0.7 * stroma[row, column]
    areas /= areas.mean()
    return areas.clip(0.07, 4.0)


def _void(rng: np.random.Generator) -> Callable[[Reals], NDArray[np.bool_]]:
    """Draw the region without tissue: mostly none, in few images a torn side or a lumen."""
    torn, hollow = rng.random(2) < (0.1, 0.25)
    angle, edge = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.9) * SIDE / 2
    side = np.array([np.cos(angle), np.sin(angle)])
    middle, radius = rng.uniform(-70.0, 70.0, 2), rng.uniform(8.0, 17.0)

    def is_void(places: Reals) -> NDArray[np.bool_]:
        off = torn & (places @ side > edge)
        return off | (hollow & (((places - middle) ** 2).sum(axis=1) < radius**2))

    return is_void


def _zoom(reach: Reals, owner: Labels, void: NDArray[np.bool_], cells: int) -> float:
    """Compute the zoom at which `cells` cells have at least two grid samples in the image.

    Args:
        reach: (G,), zoom at which a grid sample enters the image.
        owner: (G,), cell of each sample.
        void: (M,), True for what is no cell.
        cells: number of visible cells.
    """
    order = np.lexsort((reach, owner))
    owner, reach = owner[order], reach[order]
    second = np.flatnonzero(owner[1:] == owner[:-1]) + 1
    cell, first_row = np.unique(owner[second], return_index=True)
    enters = np.sort(reach[second[first_row]][~void[cell]])
    last = min(cells, len(enters) - 1)
    return float((enters[last - 1] + enters[last]) / 2)


def _nearest(sites: Reals, weights: Reals, places: Reals, ranks: int) -> tuple[Reals, Labels]:
    """Find the sites nearest to each place by power distance.

    Sites are lifted above the plane, the higher the smaller their weight, so that the Euclidean
    order in space is the order of power distances.

    Returns:
        (P, ranks) power distances in square px, and (P, ranks) rows of `sites`.
    """
    height = np.sqrt(weights.max() - weights)
    plane = np.column_stack([places, np.zeros(len(places))])
    distance, owner = cKDTree(np.column_stack([sites, height])).query(plane, np.arange(ranks) + 1)
    return np.asarray(distance) ** 2 - weights.max(), np.asarray(owner, dtype=np.intp)


def _rasterise(
    rng: np.random.Generator, cells: int, packing: Packing
) -> tuple[NDArray[np.intp], Raster]:
    """Rasterise the packing: cell and walls of each pixel.

    Returns:
        The (cells,) cells of largest visible area, and the raster; its owners are rows of
        `packing`. Other cells, slivers at the border, are merged into their neighbours.
    """
    shape = (SIDE, SIDE)
    centres = np.arange(SIDE) + 0.5 - SIDE / 2
    places = np.stack(np.meshgrid(centres, centres), axis=-1)
    bend = rng.uniform(0.3, 0.8)
    for axis in (0, 1):
        places[..., axis] += bend * smooth_noise(rng, shape, 4.0)
    places = places.reshape(-1, 2) * packing.stretch
    sites, weights, void = packing.sites, packing.weights, packing.void
    power, owners = _nearest(sites, weights, places, 3)
    area = np.bincount(owners[:, 0], minlength=len(sites))
    area[void] = 0
    shown = np.sort(np.argsort(-area, kind="stable")[:cells])
    left = void.copy()
    left[shown] = True
    drawn = np.flatnonzero(left)
    stale = ~left[owners].all(axis=1)
    if stale.any():
        again, rows = _nearest(sites[drawn], weights[drawn], places[stale], 3)
        power[stale], owners[stale] = again, drawn[rows]
    first, second, third = owners.T
    apart = 2.0 * np.linalg.norm(sites[first] - sites[second], axis=1)
    apart3 = 2.0 * np.linalg.norm(sites[first] - sites[third], axis=1)
    tones = rng.lognormal(-0.1, 0.3, (len(sites), len(sites))).astype(np.float32)
    tones[np.ix_(void, void)] = 0.0
    low, high = np.minimum(first, second), np.maximum(first, second)
    raster = Raster(
        owner=first.reshape(shape),
        gap=((power[:, 1] - power[:, 0]) / np.maximum(apart, 1.0)).reshape(shape),
        corner_gap=((power[:, 2] - power[:, 0]) / np.maximum(apart3, 1.0)).reshape(shape),
        tone=tones[low, high].reshape(shape),
    )
    return shown, raster


def _centres(owner: Labels, kept: NDArray[np.intp]) -> Points:
    """Compute the centroid of each kept cell, or its pixel nearest to a centroid outside it.

    Returns:
        (N, 2) float32; cells of fewer than 4 px are left out.
    """
    flat = owner.ravel()
    row, column = np.divmod(np.arange(flat.size), SIDE)
    many = int(max(flat.max(), kept.max())) + 1
    area = np.bincount(flat, minlength=many)
    kept = kept[area[kept] >= 4]
    x = np.bincount(flat, column + 0.5, many)[kept] / area[kept]
    y = np.bincount(flat, row + 0.5, many)[kept] / area[kept]
    for k in np.flatnonzero(owner[y.astype(int), x.astype(int)] != kept):
        rows, columns = np.nonzero(owner == kept[k])
        best = np.argmin((columns + 0.5 - x[k]) ** 2 + (rows + 0.5 - y[k]) ** 2)
        x[k], y[k] = columns[best] + 0.5, rows[best] + 0.5
    return np.stack([x, y], axis=1).astype(np.float32)


def _stain(rng: np.random.Generator, raster: Raster, stroma: Field) -> NDArray[np.uint8]:
    """Render walls, corners, stroma and nuclei by their optical density."""
    gap = raster.gap
    shape = gap.shape
    on_tissue = np.minimum(raster.tone * 4.0, 1.0)
    width = rng.uniform(0.38, 0.62)
    strength = rng.lognormal(np.log(0.13), 0.35)
    patchy = np.exp(0.45 * smooth_noise(rng, shape, 5.0))
    wall = raster.tone * patchy * np.exp(-0.5 * (gap / (width * (1.0 + 1.4 * stroma))) ** 2)
    corner = np.exp(-0.5 * ((gap + raster.corner_gap) / 1.4) ** 2)
    clots = ramp(smooth_noise(rng, shape, 2.5), 1.0, 2.2) * stroma
    haze = stroma * np.exp(-gap / 1.5)
    pink = wall + on_tissue * (0.9 * corner * patchy + 0.35 * haze * patchy)
    pink += on_tissue * 1.8 * clots * np.exp(-gap / 1.2)
    purple = _nuclei(rng, gap, raster.corner_gap, on_tissue * (0.1 + stroma))
    density = strength * pink[..., None] * (WALL_STAIN + rng.normal(0, 0.04, 3))
    density += purple[..., None] * NUCLEUS_STAIN
    density = ndimage.gaussian_filter(density, (0.45, 0.45, 0))
    light = (GLASS + rng.normal(0, 0.7, 3)) * np.exp(-density)
    light += rng.normal(0.0, 0.6, shape)[..., None]
    return to_uint8(light)


def _nuclei(rng: np.random.Generator, gap: Field, corner_gap: Field, weight: Field) -> Field:
    """Draw the optical density of small nuclei on walls, mostly at corners and in the stroma."""
    on_wall = np.flatnonzero((gap < 0.6) & (weight > 0))
    chance = (weight * (0.15 + np.exp(-corner_gap))).ravel()[on_wall]
    dots = np.zeros(gap.size, dtype=np.float32)
    many = min(int(rng.integers(15, 80)), len(on_wall))
    chosen = rng.choice(on_wall, many, replace=False, p=chance / chance.sum())
    dots[chosen] = rng.gamma(1.0, 0.8, many)
    round_dots = ndimage.gaussian_filter(dots.reshape(gap.shape), 0.8)
    along = ndimage.gaussian_filter(dots.reshape(gap.shape), 2.2) * np.exp(-((gap / 0.8) ** 2))
    return round_dots + 1.2 * along
