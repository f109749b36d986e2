"""Flows and masks against plain-Python loops."""

import math
import time

import numpy as np
import pytest
import torch

from cellbench_plugins._ops.flows import (
    flow_errors,
    flow_targets,
    flow_targets_of_batch,
    follow_flows,
    masks_from_ends,
)
from cellbench_plugins._ops.pseudo_masks import disc_labels


def cells(seed, number, size=(24, 18), radius=4.0):
    rng = np.random.default_rng(seed)
    points = torch.from_numpy((rng.random((number, 2)) * size).astype(np.float32))
    labels = disc_labels(points, torch.full((number,), radius), size=size)
    return points, labels


def sources_of(points):
    return points.floor().long().flip(1)


def diffuse(labels, sources, steps, warmth_of=np.log1p):
    """Heat, pixel by pixel; `warmth_of` it is what the flow is the gradient of."""
    height, width = labels.shape
    heat = np.zeros((height, width))

    def at(field, i, j, label):
        inside = 0 <= i < height and 0 <= j < width
        return field[i, j] if inside and labels[i, j] == label else 0.0

    pixels = [(i, j) for i in range(height) for j in range(width) if labels[i, j]]
    for _ in range(steps):
        for cell, (i, j) in enumerate(sources, start=1):
            if labels[i, j] == cell:
                heat[i, j] += 1
        new = np.zeros_like(heat)
        for i, j in pixels:
            around = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            new[i, j] = sum(at(heat, k, m, labels[i, j]) for k, m in around) / 9
        heat = new
    warmth = warmth_of(heat)
    flow = np.zeros((2, height, width))
    for i, j in pixels:
        label = labels[i, j]
        x = at(warmth, i, j + 1, label) - at(warmth, i, j - 1, label)
        y = at(warmth, i + 1, j, label) - at(warmth, i - 1, j, label)
        length = math.hypot(x, y)
        flow[:, i, j] = (x / length, y / length) if length > 1e-20 else (0, 0)
    return flow


def walk(flow, start, steps):
    """One pixel's way."""
    _, height, width = flow.shape
    y, x = (float(value) for value in start)
    for _ in range(steps):
        j, i = min(int(x), width - 1), min(int(y), height - 1)
        k, m = min(i + 1, height - 1), min(j + 1, width - 1)
        a, b = x - j, y - i
        move = [
            (1 - b) * ((1 - a) * f[i, j] + a * f[i, m]) + b * ((1 - a) * f[k, j] + a * f[k, m])
            for f in flow
        ]
        x = min(max(x + move[0], 0.0), width - 1.0)
        y = min(max(y + move[1], 0.0), height - 1.0)
    return x, y


def group(ends, size):
    """Masks by loops: seeds, growth, and whose basin each pixel ends in."""
    width, height = size
    at = [(round(float(y)), round(float(x))) for x, y in ends]
    histogram = np.zeros((height, width), dtype=int)
    for i, j in at:
        histogram[i, j] += 1
    seeds = []
    for i in range(height):
        for j in range(width):
            window = [
                (-histogram[k, m], k, m)
                for k in range(max(0, i - 2), min(height, i + 3))
                for m in range(max(0, j - 2), min(width, j + 3))
            ]
            if histogram[i, j] > 10 and min(window)[1:] == (i, j):
                seeds.append((histogram[i, j], i, j))
    basins = np.zeros((height, width), dtype=int)
    for label, (_, i, j) in enumerate(sorted(seeds, key=lambda seed: seed[0]), start=1):
        basins[i, j] = label
    for _ in range(5):
        grown = basins.copy()
        for i in range(height):
            for j in range(width):
                if basins[i, j] == 0 and histogram[i, j] > 2:
                    grown[i, j] = basins[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].max()
        basins = grown
    return [int(basins[i, j]) for i, j in at]


@pytest.mark.parametrize("seed", [0, 1])
def test_diffused_flows_are_those_of_a_loop_over_pixels(seed):
    points, labels = cells(seed, 8)
    found = flow_targets(labels, sources_of(points), steps=12)
    expected = diffuse(labels.numpy(), sources_of(points).tolist(), 12)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_images_of_a_batch_diffuse_each_for_itself_and_for_its_own_time():
    made = [cells(seed, number) for seed, number in ((0, 8), (1, 1), (2, 12))]
    labels = [labels for _, labels in made] + [torch.zeros_like(made[0][1])]
    sources = [sources_of(points) for points, _ in made] + [torch.zeros(0, 2).long()]
    steps = [12, 3, 20, 0]
    together = flow_targets_of_batch(torch.stack(labels), sources, steps=steps)
    for found, own, places, number in zip(together, labels, sources, steps, strict=True):
        expected = diffuse(own.numpy(), places.tolist(), number)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
        assert torch.equal(found, flow_targets(own, places, steps=number))


def test_the_logarithm_of_the_heat_hardly_turns_the_flow():
    """Releases from version 3 on take the gradient of the heat itself."""
    points, labels = cells(2, 6)
    sources, inside = sources_of(points), labels.numpy() > 0
    found = flow_targets(labels, sources, steps=18).numpy()[:, inside]
    later = diffuse(labels.numpy(), sources.tolist(), 18, warmth_of=np.array)[:, inside]
    known = (np.hypot(*found) > 0) & (np.hypot(*later) > 0)  # a source may have no slope
    turned = np.degrees(np.arccos((found * later).sum(0)[known].clip(-1, 1)))
    assert len(turned) > 150
    assert np.median(turned) < 1
    assert np.quantile(turned, 0.9) < 2


def test_flows_lead_to_the_source_and_are_of_unit_length():
    points, labels = torch.tensor([[10.5, 8.5]]), None
    labels = disc_labels(points, torch.tensor([5.0]), size=(20, 16))
    flow = flow_targets(labels, sources_of(points), steps=22)
    y, x = labels.nonzero(as_tuple=True)
    towards = torch.stack([10.0 - x, 8.0 - y])
    inside = towards.norm(dim=0) > 0
    cosine = (flow[:, y, x] * torch.nn.functional.normalize(towards, dim=0)).sum(0)[inside]
    assert (cosine > 0.9).all()
    torch.testing.assert_close(flow[:, y, x].norm(dim=0)[inside], torch.ones(int(inside.sum())))
    assert not flow[:, labels == 0].any()


def test_no_cells_have_no_flow_and_no_masks():
    assert not flow_targets(torch.zeros(4, 5).long(), torch.zeros(0, 2).long(), steps=3).any()
    none = torch.zeros(0, 2).long()
    ends = follow_flows(torch.zeros(2, 4, 5), none)
    assert masks_from_ends(ends, none, (5, 4)).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_pixels_end_where_a_walk_ends(seed):
    generator = torch.Generator().manual_seed(seed)
    # Smooth, so that neither way depends on the last digit.
    rough = torch.randn(1, 2, 5, 6, generator=generator)
    flow = torch.nn.functional.interpolate(rough, size=(17, 23), mode="bilinear")[0] * 0.7
    starts = torch.ones(17, 23).nonzero()[::5]
    found = follow_flows(flow, starts, steps=40).numpy()
    expected = np.array([walk(flow.double().numpy(), start, 40) for start in starts.tolist()])
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert np.median(np.abs(found - expected)) < 1e-3


def test_a_flow_over_the_border_ends_on_it():
    flow = torch.stack([torch.ones(5, 7), torch.zeros(5, 7)])
    ends = follow_flows(flow, torch.tensor([[2, 1]]), steps=50)
    torch.testing.assert_close(ends, torch.tensor([[6.0, 2.0]]))


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_a_loop_over_the_histogram(seed):
    rng = np.random.default_rng(seed)
    middles = rng.random((9, 2)) * [30, 20]
    ends = np.repeat(middles, 60, axis=0) + rng.normal(0, 0.9, (540, 2))
    ends = torch.from_numpy(ends.clip(0, [29, 19]).astype(np.float32))
    starts = torch.zeros(len(ends), 2).long()
    assert masks_from_ends(ends, starts, (30, 20)).tolist() == group(ends.tolist(), (30, 20))


def test_the_way_there_and_back_recovers_every_cell():
    steps = 12.0 * torch.arange(6) + 6
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)
    labels = disc_labels(points, torch.full((36,), 6.5), size=(72, 72))
    flow = flow_targets(labels, sources_of(points), steps=30)
    starts = (labels > 0).nonzero()
    mask = masks_from_ends(follow_flows(flow, starts), starts, (72, 72))
    truth = labels[starts[:, 0], starts[:, 1]]
    pairs = torch.unique(torch.stack([truth, mask], 1)[mask > 0], dim=0)
    assert len(pairs) == 36
    assert (mask > 0).float().mean() > 0.99


def test_masks_whose_flow_is_their_own_have_no_error_and_turned_flows_have_much():
    points, labels = cells(5, 1, radius=5.0)
    flow = flow_targets(labels, sources_of(points), steps=22)
    assert flow_errors(labels, flow, sources_of(points), steps=22).tolist() == [0.0]
    assert float(flow_errors(labels, -flow, sources_of(points), steps=22)) > 3


def test_five_thousand_cells_are_followed_in_seconds():
    steps = 28.0 * torch.arange(71) + 14
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)[:5000]
    points = points + 3 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    labels = disc_labels(points, torch.full((5000,), 10.0), size=(2000, 2000))
    starts = (labels > 0).nonzero()
    middle = points[labels[starts[:, 0], starts[:, 1]] - 1]
    flow = torch.zeros(2, 2000, 2000)  # straight to the middle: diffusion is not what is timed
    towards = torch.nn.functional.normalize(middle - starts.flip(1) - 0.5)
    flow[:, starts[:, 0], starts[:, 1]] = towards.mT
    began = time.process_time()
    mask = masks_from_ends(follow_flows(flow, starts), starts, (2000, 2000))
    assert time.process_time() - began < 5
    assert int(mask.max()) == 5000
