"""Suppression of polygons against a plain-Python loop over triangles."""

import math
import time

import numpy as np
import pytest
import torch

from cellbench_plugins._ops.polygon_nms import (
    LEAST_PX,
    polygon_areas,
    polygon_nms,
    polygon_vertices,
    shared_areas,
)
from cellbench_plugins._ops.pseudo_masks import Discs


def corners(centre, lengths):
    rays = len(lengths)
    return [
        (
            centre[0] + length * math.cos(2 * math.pi * k / rays),
            centre[1] + length * math.sin(2 * math.pi * k / rays),
        )
        for k, length in enumerate(lengths)
    ]


def area(polygon):
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return 0.5 * sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)


def clip(subject, window):
    """What a convex window leaves of a convex polygon: Sutherland and Hodgman."""
    for (x0, y0), (x1, y1) in zip(window, window[1:] + window[:1], strict=True):

        def side(p, x0=x0, y0=y0, x1=x1, y1=y1):
            return (x1 - x0) * (p[1] - y0) - (y1 - y0) * (p[0] - x0)

        left = []
        for p, q in zip(subject, subject[1:] + subject[:1], strict=True):
            if side(p) >= 0:
                left.append(p)
            if (side(p) >= 0) != (side(q) >= 0):
                t = side(p) / (side(p) - side(q))
                left.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
        subject = left
        if not subject:
            return []
    return subject


def triangles(centre, lengths):
    border = corners(centre, lengths)
    return [[tuple(centre), p, q] for p, q in zip(border, border[1:] + border[:1], strict=True)]


def shared(first, second):
    """The area that two star polygons share, triangle by triangle."""
    if math.dist(first[0], second[0]) > max(first[1]) + max(second[1]):
        return 0.0
    return sum(
        area(piece) for a in triangles(*first) for b in triangles(*second) if (piece := clip(a, b))
    )


def greedy(centres, lengths, scores, overlap):
    """Suppression, polygon by polygon."""
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        one = centres[i], lengths[i]
        for j in kept:
            other = centres[j], lengths[j]
            smaller = min(area(corners(*one)), area(corners(*other)))
            if shared(one, other) > overlap * smaller:
                break
        else:
            kept.append(i)
    return kept


def polygons(seed, number, rays, *, field=30.0):
    rng = np.random.default_rng(seed)
    centres = rng.random((number, 2)) * field
    lengths = rng.random((number, rays)) * 6 + 1
    return centres, lengths, rng.random(number)


def tensors(*arrays):
    return [torch.tensor(np.asarray(array), dtype=torch.float32) for array in arrays]


@pytest.mark.parametrize(("seed", "rays"), [(0, 3), (1, 4), (2, 8), (3, 13)])
def test_the_area_that_two_polygons_share_is_that_of_their_triangles(seed, rays):
    centres, lengths, _ = polygons(seed, 24, rays, field=8.0)
    c, d = tensors(centres, lengths)
    vertices = polygon_vertices(c, d)
    found = shared_areas(vertices[:12], vertices[12:], c[:12], c[12:])
    wanted = [
        shared((centres[i], lengths[i]), (centres[i + 12], lengths[i + 12])) for i in range(12)
    ]
    assert max(wanted) > 1
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_a_polygon_shares_all_of_itself_with_one_around_it_and_nothing_with_one_far_off():
    c, d = tensors([[5, 5], [5.5, 4.5], [50, 5]], [[2] * 16, [9] * 16, [9] * 16])
    vertices = polygon_vertices(c, d)
    near = shared_areas(vertices[:1], vertices[1:2], c[:1], c[1:2])
    torch.testing.assert_close(near, polygon_areas(vertices[:1]))
    assert shared_areas(vertices[:1], vertices[2:], c[:1], c[2:]).tolist() == [0.0]


def test_areas_far_from_the_origin_are_as_exact_as_near_it():
    c, d = tensors([[0, 0], [2, 1]], [[3] * 12, [4] * 12])
    near = polygon_vertices(c, d)
    far = polygon_vertices(c + 4096, d)
    torch.testing.assert_close(
        shared_areas(far[:1], far[1:], c[:1] + 4096, c[1:] + 4096),
        shared_areas(near[:1], near[1:], c[:1], c[1:]),
        rtol=1e-3,
        atol=1e-2,
    )


@pytest.mark.parametrize("overlap", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_suppression_keeps_what_a_loop_over_polygons_keeps(seed, overlap):
    centres, lengths, scores = polygons(seed, 30, 8, field=25.0)
    kept = polygon_nms(*tensors(centres, lengths, scores), overlap=overlap)
    assert kept.tolist() == greedy(centres, lengths, scores, overlap)


def test_of_equal_scores_the_first_polygon_wins():
    c, d, s = tensors([[5, 5], [6, 5], [5, 6]], np.full((3, 8), 4), [0.5, 0.5, 0.5])
    assert polygon_nms(c, d, s).tolist() == [0]


def test_a_suppressed_polygon_suppresses_none():
    c, d, s = tensors([[0, 0], [5, 0], [10, 0]], np.full((3, 32), 4), [0.9, 0.8, 0.7])
    assert polygon_nms(c, d, s, overlap=0.2).tolist() == [0, 2]


def test_no_polygons_leave_none():
    kept = polygon_nms(torch.zeros(0, 2), torch.zeros(0, 32), torch.zeros(0))
    assert kept.dtype == torch.int64
    assert kept.tolist() == []


def test_lengths_that_are_no_lengths_are_specks():
    c, d, s = tensors([[5, 5], [5, 5], [40, 5]], np.full((3, 8), 3), [0.9, 0.8, 0.7])
    d[1] = -2.0
    d[2, 3] = float("nan")
    assert polygon_vertices(c, d)[2, 3, 0] == pytest.approx(
        40 + LEAST_PX * math.cos(6 * math.pi / 8)
    )
    assert polygon_nms(c, d, s).tolist() == [0, 2]


def test_one_giant_among_specks_is_no_obstacle():
    rng = np.random.default_rng(0)
    c, s = tensors(rng.random((50, 2)) * 1000, rng.random(50))
    d = torch.full((50, 8), 0.5)
    d[int(s.argmin())] = 2000.0
    assert len(polygon_nms(c, d, s)) == 49


def field_of_cells(views):
    """5,000 touching cells in 2000 x 2000 px, each seen from several of its pixels."""
    generator = torch.Generator().manual_seed(0)
    steps = 28.0 * torch.arange(71) + 14
    cells = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)[:5000]
    cells = cells + 3 * torch.randn(cells.shape, generator=generator)
    owners = torch.arange(5000).repeat_interleave(views)
    centres = cells[owners] + 3 * torch.randn(len(owners), 2, generator=generator)
    lengths = Discs.of(cells, torch.full((5000,), 12.0)).ray_lengths(centres, owners, 32)
    lengths *= 1 + 0.05 * torch.randn(lengths.shape, generator=generator)
    return centres, lengths, torch.rand(len(owners), generator=generator)


def test_five_thousand_cells_are_told_apart_in_seconds():
    centres, lengths, scores = field_of_cells(views=8)
    began = time.process_time()
    kept = polygon_nms(centres, lengths, scores)
    assert time.process_time() - began < 5
    assert 4950 < len(kept) < 5150
