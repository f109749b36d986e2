"""Pseudo-masks for point annotations: discs, cut halfway between neighbouring cells.

The radius of a cell's disc is proportional to the distance to its nearest neighbour, within limits;
the part of the disc that is nearer to a neighbour is cut off. Lengths are in pixels of any one
frame; pixel column j covers [j, j+1) and is tested at its centre.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Distances of all pairs are computed for this many points at a time.
_ROWS = 1024


def nearest_distances(points: Tensor) -> Tensor:
    """Compute the distance of each point to its nearest neighbour.

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
    """Compute radii from the local spacing of points.

    Args:
        points: (N, 2) float, (x, y) px.
        share: radius as a share of the distance to the nearest neighbour.
        least_px: smallest radius.
        most_px: largest radius, also that of a lone cell.

    Returns:
        (N,) float px; empty for no points.
    """
    return (share * nearest_distances(points)).clamp(least_px, most_px)


def disc_labels(points: Tensor, radii: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Label each pixel with its nearest cell, if it is within that cell's radius.

    Of equally near cells the first in order gets the pixel; of cells at the same point, therefore,
    all but the first have no pixels.

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
    """Discs of an image as sets in the plane, for distances with sub-pixel precision.

    Attributes:
        points: (N, 2) float, (x, y) px.
        radii: (N,) float px.
        neighbours: (N, K) int64, rows of the cells that may cut each one, padded by -1.
    """

    points: Tensor
    radii: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, points: Tensor, radii: Tensor) -> "Discs":
        """Find the neighbours that may cut each disc; cells at the same point do not cut."""
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
        """Compute the distance of points inside a cell to its border.

        Args:
            places: (P, 2) float, (x, y) px.
            owners: (P,) int64, row of the cell that contains each point.

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
        """Compute the distances of points inside a cell to its border in `rays` directions.

        Ray k has the angle 2 pi k / rays, from the x axis towards the y axis (downwards).

        Args:
            places: (P, 2) float, (x, y) px.
            owners: (P,) int64, row of the cell that contains each point.
            rays: number of directions.

        Returns:
            (P, rays) float px. Cells are not cut at the border of the image.
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
        """Compute (P, K, 2) unit vectors to each neighbour and (P, K) px to the bisector."""
        rows = self.neighbours[owners]
        vectors = self.points[rows.clamp_min(0)] - self.points[owners][:, None]
        lengths = vectors.norm(dim=-1).clamp_min(1e-9)
        halves = (0.5 * lengths).masked_fill(rows < 0, float("inf"))
        return vectors / lengths[..., None], halves


def ray_directions(rays: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Compute (rays, 2) unit vectors (x, y), evenly spaced from the x axis towards the y axis."""
    angles = 2 * math.pi / rays * torch.arange(rays, device=device, dtype=dtype)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Compute distances, (N, M) px, by differences: the product form is inexact far from 0."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
