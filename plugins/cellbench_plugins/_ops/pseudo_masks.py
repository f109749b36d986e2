"""Shapes for cells that are annotated by a point alone: discs, cut where two cells meet.

A cell's disc has a radius that follows the distance to its nearest neighbour, and loses to each
neighbour what lies nearer to it. Lengths are in pixels of one frame, whichever it is; pixel
column j covers [j, j+1) and is judged by its centre.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Distances of all pairs are computed for so many points at a time.
_ROWS = 1024


def nearest_distances(points: Tensor) -> Tensor:
    """How far each point's nearest neighbour is.

    Args:
        points: (N, 2) float, (x, y) px.

    Returns:
        (N,) float; infinite for a lone point, empty for none.
    """
    found = points.new_full((len(points),), float("inf"))
    if len(points) < 2:
        return found
    for first in range(0, len(points), _ROWS):
        rows = torch.arange(first, min(first + _ROWS, len(points)), device=points.device)
        apart = _distances(points[rows], points)
        apart[torch.arange(len(rows), device=points.device), rows] = float("inf")
        found[rows] = apart.amin(dim=1)
    return found


def cell_radii(points: Tensor, *, share: float, least_px: float, most_px: float) -> Tensor:
    """Radii from the local spacing.

    Args:
        points: (N, 2) float, (x, y) px.
        share: of the distance to the nearest neighbour.
        least_px: least radius.
        most_px: most radius, also of a lone cell.

    Returns:
        (N,) float px; empty for no points.
    """
    return (share * nearest_distances(points)).clamp(least_px, most_px)


def disc_labels(points: Tensor, radii: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Which cell each pixel belongs to: the nearest one, if it is within that one's radius.

    Of cells that are equally near the first in order gets the pixel; of cells on the same spot,
    therefore, all but the first have none.

    Args:
        points: (N, 2) float, (x, y) px.
        radii: (N,) float px.
        size: (width, height) of the image in px.

    Returns:
        (height, width) int64: 0 for background, else the cell's row in `points` plus 1.
    """
    width, height = size
    labels = torch.zeros(height * width, dtype=torch.int64, device=points.device)
    if not len(points) or not len(labels):
        return labels.view(height, width)
    reach = math.ceil(float(radii.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=points.device)
    rows, columns = (s.flatten() for s in torch.meshgrid(steps, steps, indexing="ij"))
    x = points[:, :1].floor().long() + columns  # (N, K)
    y = points[:, 1:].floor().long() + rows
    apart = (x + 0.5 - points[:, :1]) ** 2 + (y + 0.5 - points[:, 1:]) ** 2
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (apart <= radii.max() ** 2)
    owners = torch.arange(len(points), device=points.device)[:, None].expand_as(x)[inside]
    place, apart = (y * width + x)[inside], apart[inside]
    nearest = apart.new_full((len(labels),), float("inf"))
    nearest.scatter_reduce_(0, place, apart, "amin")
    nearest_of = apart == nearest[place]
    first = torch.full_like(labels, len(points))
    first.scatter_reduce_(0, place[nearest_of], owners[nearest_of], "amin")
    taken = (first < len(points)).nonzero().squeeze(1)
    held = nearest[taken] <= radii[first[taken]] ** 2
    labels[taken[held]] = first[taken[held]] + 1
    return labels.view(height, width)


@dataclass(frozen=True, slots=True)
class Discs:
    """The cells of an image as sets in the plane, for answers finer than a pixel.

    Attributes:
        points: (N, 2) float, (x, y) px.
        radii: (N,) float px.
        neighbours: (N, K) int64, rows of the cells that may cut each one; -1 fills up.
    """

    points: Tensor
    radii: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, points: Tensor, radii: Tensor) -> "Discs":
        """Find out which cells cut which; ones on the same spot do not cut each other."""
        if len(points) < 2:
            return cls(
                points, radii, torch.zeros(len(points), 0, dtype=torch.int64).to(points.device)
            )
        apart = _distances(points, points)
        near = (apart < 2 * radii[:, None]) & (apart > 0)
        most = int(near.sum(dim=1).max())
        _, order = apart.masked_fill(~near, float("inf")).topk(most, largest=False)
        kept = near.gather(1, order)
        return cls(points, radii, order.masked_fill(~kept, -1))

    def depths(self, places: Tensor, owners: Tensor) -> Tensor:
        """How far it is from places inside a cell to the nearest place outside of it.

        Args:
            places: (P, 2) float, (x, y) px.
            owners: (P,) int64, row of the cell that each lies in.

        Returns:
            (P,) float px.
        """
        from_centre = places - self.points[owners]
        depth = self.radii[owners] - from_centre.norm(dim=1)
        normals, halves = self._bisectors(owners)
        if normals.shape[1]:
            along = (normals * from_centre[:, None]).sum(-1)  # (P, K)
            depth = torch.minimum(depth, (halves - along).amin(dim=1))
        return depth.clamp_min(0)

    def ray_lengths(self, places: Tensor, owners: Tensor, rays: int) -> Tensor:
        """How far it is from places inside a cell to its border, in `rays` directions.

        Ray k points to the angle 2 pi k / rays, from the x axis towards the y axis (downwards).

        Args:
            places: (P, 2) float, (x, y) px.
            owners: (P,) int64, row of the cell that each lies in.
            rays: number of directions.

        Returns:
            (P, rays) float px. Borders of the image do not cut: a cell reaches beyond them.
        """
        directions = ray_directions(rays, places.device, places.dtype)  # (R, 2)
        from_centre = places - self.points[owners]
        along = from_centre @ directions.T  # (P, R)
        room = self.radii[owners] ** 2 - from_centre.square().sum(1)
        lengths = (along**2 + room[:, None]).clamp_min(0).sqrt() - along
        normals, halves = self._bisectors(owners)
        for k in range(normals.shape[1]):
            towards = normals[:, k] @ directions.T  # (P, R)
            left = halves[:, k] - (normals[:, k] * from_centre).sum(1)
            cut = left[:, None] / towards.clamp_min(1e-9)
            lengths = torch.where(towards > 1e-9, torch.minimum(lengths, cut), lengths)
        return lengths.clamp_min(0)

    def _bisectors(self, owners: Tensor) -> tuple[Tensor, Tensor]:
        """(P, K, 2) unit vectors towards each neighbour and (P, K) px to the line halfway there."""
        rows = self.neighbours[owners]
        vectors = self.points[rows.clamp_min(0)] - self.points[owners][:, None]
        lengths = vectors.norm(dim=-1).clamp_min(1e-9)
        halves = (0.5 * lengths).masked_fill(rows < 0, float("inf"))
        return vectors / lengths[..., None], halves


def ray_directions(rays: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """(rays, 2) unit vectors (x, y), evenly around from the x axis towards the y axis."""
    angles = 2 * math.pi / rays * torch.arange(rays, device=device, dtype=dtype)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) px, by differences: the product form loses what is less than a pixel far from 0."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
