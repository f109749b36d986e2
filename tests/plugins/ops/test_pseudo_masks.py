"""Pseudo-shapes of cells against brute force."""

import math

import numpy as np
import pytest
import torch

from cellbench_plugins._ops.pseudo_masks import (
    Discs,
    cell_radii,
    disc_labels,
    nearest_distances,
)


def points_of(seed, number, width=30, height=20):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.random((number, 2)) * [width, height]).astype(np.float32))


def owner(place, points, radii):
    """The nearest point, if the place lies in its disc; else None."""
    apart = [math.dist(place, point) for point in points]
    nearest = min(range(len(points)), key=lambda i: apart[i])
    return nearest if apart[nearest] <= radii[nearest] else None


def test_the_nearest_neighbour_is_that_of_brute_force():
    points = points_of(0, 1500)
    apart = torch.cdist(points.double(), points.double()).fill_diagonal_(float("inf"))
    torch.testing.assert_close(nearest_distances(points).double(), apart.amin(1))


def test_a_lone_cell_has_the_largest_radius_and_none_has_none():
    assert cell_radii(torch.zeros(1, 2), share=0.5, least_px=2, most_px=7).tolist() == [7.0]
    assert cell_radii(torch.zeros(0, 2), share=0.5, least_px=2, most_px=7).shape == (0,)


def test_radii_follow_the_spacing_within_their_range():
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [12.0, 0.0], [112.0, 0.0]])
    radii = cell_radii(points, share=0.6, least_px=3, most_px=20)
    assert radii.tolist() == pytest.approx([3, 3, 6, 20])


@pytest.mark.parametrize(("seed", "number"), [(0, 1), (1, 7), (2, 40), (3, 120)])
def test_a_pixel_belongs_to_the_nearest_cell_if_it_is_in_its_disc(seed, number):
    points = points_of(seed, number)
    radii = cell_radii(points, share=0.7, least_px=1.5, most_px=6)
    labels = disc_labels(points, radii, size=(30, 20))
    expected = np.zeros((20, 30), dtype=int)
    for i in range(20):
        for j in range(30):
            found = owner((j + 0.5, i + 0.5), points.tolist(), radii.tolist())
            expected[i, j] = 0 if found is None else found + 1
    np.testing.assert_array_equal(labels.numpy(), expected)


def test_cells_on_one_spot_give_their_pixels_to_the_first():
    points = torch.tensor([[5.2, 5.2], [5.2, 5.2]])
    assert disc_labels(points, torch.tensor([2.0, 4.0]), size=(12, 12)).unique().tolist() == [0, 1]


def test_no_cells_leave_background():
    assert not disc_labels(torch.zeros(0, 2), torch.zeros(0), size=(4, 3)).any()


def brute_force_ray(place, direction, points, radii, cell):
    """Walk until the place belongs to another."""
    length = 0.0
    while owner((place[0] + length * direction[0], place[1] + length * direction[1]), points, radii) == cell:  # fmt: skip  # noqa: E501
        length += 0.01
    return length


@pytest.mark.parametrize("seed", [0, 1])
def test_rays_end_and_depths_are_where_a_walk_leaves_the_cell(seed):
    points = points_of(seed, 25)
    radii = cell_radii(points, share=0.8, least_px=2, most_px=6)
    labels = disc_labels(points, radii, size=(30, 20))
    rows, columns = labels.nonzero(as_tuple=True)
    chosen = torch.arange(0, len(rows), max(1, len(rows) // 12))
    places = torch.stack([columns, rows], 1)[chosen] + 0.5
    owners = labels[rows, columns][chosen] - 1
    discs = Discs.of(points, radii)
    rays = discs.ray_lengths(places, owners, 8)
    depths = discs.depths(places, owners)
    fine = discs.ray_lengths(places, owners, 720).amin(1)
    torch.testing.assert_close(depths, fine, atol=0.02, rtol=0)
    for row, (place, cell) in enumerate(zip(places.tolist(), owners.tolist(), strict=True)):
        for k in range(8):
            direction = (math.cos(k * math.pi / 4), math.sin(k * math.pi / 4))
            walked = brute_force_ray(place, direction, points.tolist(), radii.tolist(), cell)
            assert float(rays[row, k]) == pytest.approx(walked, abs=0.02)


def test_a_lone_disc_is_not_cut_by_anything():
    discs = Discs.of(torch.tensor([[1.0, 1.0]]), torch.tensor([5.0]))
    place, cell = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
    assert discs.depths(place, cell).tolist() == [5.0]
    torch.testing.assert_close(discs.ray_lengths(place, cell, 16), torch.full((1, 16), 5.0))
