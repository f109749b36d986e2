"""Cellpose: targets, the way from perfect maps to cells, the style without its padding."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.counter import Batch, Images
from cellbench_plugins.methods.cellpose import FlowNet, _style

MODEL = {"type": "Cellpose", "widths": [4, 8, 8]}


def counter_with(**options):
    torch.manual_seed(0)
    return build_counter({**MODEL, **options}, load_weights=False)


def answer(counter, points, *, turned=(), size=(64, 64)):
    """What comes of a net that says what it should, but for cells whose flow is turned round."""
    (flow,), (labels,) = counter.targets([points], size, 1.0)
    for cell in turned:
        flow[:, labels == cell + 1] *= -1
    logits = torch.where(labels > 0, 6.0, -6.0)
    output = torch.cat([5 * flow, logits[None]])[None]

    class Oracle(torch.nn.Module):
        def forward(self, images, sizes):
            return output

    counter.net = Oracle()
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    images = counter.data_preprocessor.images([pixels], scale=1.0, image_ids=["a"])
    return counter.eval().infer(images)[0]


def grid_of_cells():
    steps = 11.0 * torch.arange(5) + 9.5
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)


def test_the_net_is_the_published_one_written_out():
    """Its units, residuals, style and skips in plain functions, in training and at full width."""
    torch.manual_seed(0)
    net = FlowNet([32, 64, 128, 256]).train()
    images = torch.randn(2, 3, 32, 48)

    def norm(layer, x):
        away = x - x.mean((0, 2, 3), keepdim=True)
        x = away / (away.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        return (
            x
            if layer.weight is None
            else F.batch_norm(
                x, torch.zeros(x.shape[1]), torch.ones(x.shape[1]), layer.weight, layer.bias, eps=0
            )
        )

    def unit(layers, x):
        return F.conv2d(norm(layers[0], x).clamp_min(0), layers[2].weight, padding=1)

    def project(layers, x):
        return F.conv2d(norm(layers[0], x), layers[1].weight)

    maps, x = [], images
    for level in net.down:
        x = project(level.project, x) + unit(level.first[1], unit(level.first[0], x))
        x = x + unit(level.second[1], unit(level.second[0], x))
        maps.append(x)
        x = F.max_pool2d(x, 2)
    style = maps[-1].mean((2, 3))
    style = style / style.norm(dim=1, keepdim=True)
    x = maps[-1]
    for index, level in enumerate(net.up):
        if index:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        first, second, third = ((style @ s.weight.T)[:, :, None, None] for s in level.styles)
        inner = unit(level.units[0], x) + maps[-1 - index]
        x = project(level.project, x) + unit(level.units[1], inner + first)
        x = x + unit(level.units[3], unit(level.units[2], x + second) + third)
    x = F.conv2d(norm(net.head[0], x).clamp_min(0), net.head[2].weight, net.head[2].bias)
    torch.testing.assert_close(net(images, torch.tensor([[48, 32]] * 2)), x, atol=1e-4, rtol=1e-4)
    # of the 6,600,000 of the release, those without the biases that a batch-norm subtracts
    assert sum(p.numel() for p in net.parameters()) == 6_593_065


def test_the_loss_is_half_the_squared_error_of_five_flows_and_the_entropy_of_cells():
    counter = counter_with()
    points = [torch.tensor([[6.0, 5.0], [14.5, 12.5]]), torch.zeros(0, 2)]
    sizes = torch.tensor([[20, 16], [9, 12]])
    torch.manual_seed(1)
    output = torch.randn(2, 3, 16, 24)
    counter.net.forward = lambda pixels, sizes: output
    images = Images(torch.zeros(2, 3, 16, 24), sizes, 1.0, ["a", "b"])
    terms = counter.loss(Batch(images, points))
    squares, entropies = [], []
    for own, cells, (width, height) in zip(output, points, sizes.tolist(), strict=True):
        (flow,), (labels,) = counter.targets([cells], (24, 16), 1.0)
        for y in range(height):
            for x in range(width):
                away = own[:2, y, x] - 5 * flow[:, y, x]
                squares.append(float(away.square().mean()))
                chance = float(own[2, y, x].sigmoid())
                entropies.append(-math.log(chance if labels[y, x] else 1 - chance))
    assert float(terms["loss_flow"]) == pytest.approx(0.5 * np.mean(squares), rel=1e-5)
    assert float(terms["loss_cell"]) == pytest.approx(np.mean(entropies), rel=1e-5)


def test_perfect_maps_give_every_cell_back_at_its_point():
    points = torch.cat([grid_of_cells(), torch.tensor([[0.5, 0.5], [63.5, 63.5]])])
    found = answer(counter_with(least_radius_px=4.0), points)
    apart = torch.cdist(torch.from_numpy(found.points), points)
    assert found.count == len(points)
    assert apart.amin(0).max() < 1.5
    assert (found.scores > 0.9).all()


def test_a_mask_whose_flow_is_not_its_own_is_dropped():
    points = grid_of_cells()
    left = answer(counter_with(), points, turned=[12])
    apart = torch.cdist(torch.from_numpy(left.points), points)
    assert apart.amin(0)[12] > 2
    assert left.count == 24


def test_masks_below_the_least_size_are_dropped():
    assert answer(counter_with(least_pixels=2000), grid_of_cells()).count == 0


def test_an_image_without_cells_has_empty_targets_and_no_masks():
    flow, labels = counter_with().targets([torch.zeros(0, 2)], (8, 6), 1.0)
    assert flow.shape == (1, 2, 6, 8)
    assert not labels.any()
    assert answer(counter_with(), torch.zeros(0, 2)).count == 0


def test_the_style_does_not_see_the_padding():
    features = torch.randn(1, 3, 4, 4)
    padded = torch.nn.functional.pad(features, (0, 4, 0, 4), value=9.0)
    alone = _style(features, torch.tensor([[16, 16]]), stride=4)
    torch.testing.assert_close(_style(padded, torch.tensor([[16, 16]]), stride=4), alone)
    torch.testing.assert_close(alone.norm(dim=1), torch.ones(1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"least_radius_px": 20.0}, "least_radius_px"), ({"pixel_floor": 1.0}, "pixel_floor")],
)
def test_options_that_make_no_mask_are_told(options, sentence):
    with pytest.raises(PartError, match=sentence):
        counter_with(**options)
