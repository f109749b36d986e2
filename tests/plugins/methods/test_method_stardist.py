"""StarDist: targets, the way from perfect maps to cells, cells at the border."""

import math

import numpy as np
import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.counter import Batch, Images
from cellbench_plugins._ops.lattice import lattice

MODEL = {"type": "StarDist", "width": 4, "depth": 2, "features": 8, "rays": 16}


@pytest.fixture(scope="module", params=[1, 2])
def counter(request):
    torch.manual_seed(0)
    return build_counter({**MODEL, "grid": request.param}, load_weights=False)


def perfect(counter, points, size):
    """Make the net say what it should."""
    grid = counter.grid
    depth, lengths = counter.targets(points, (size[0] // grid, size[1] // grid), 1.0)
    logits = torch.logit(depth.clamp(1e-4, 1 - 1e-4))[None, None]

    class Oracle(torch.nn.Module):
        def forward(self, images):
            return logits, lengths[None]

    counter.net = Oracle()
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    images = counter.data_preprocessor.images([pixels], scale=1.0, image_ids=["a"])
    return counter.eval().infer(images)[0]


def test_targets_are_deepest_at_the_cell_and_nothing_outside(counter):
    points = torch.tensor([[12.0, 12.0], [30.0, 20.0]])
    size = (48 // counter.grid, 32 // counter.grid)
    depth, lengths = counter.targets(points, size, 1.0)
    assert depth.max() == 1
    assert depth.min() == 0
    places = lattice((size[1], size[0]), float(counter.grid), depth.device)
    apart = torch.cdist(places, points).amin(1).view_as(depth)
    assert (depth[apart > 12] == 0).all()
    assert (lengths[:, depth == 0] == 0).all()
    assert (depth[apart < 2] > 0.5).all()


def test_the_loss_is_the_entropy_of_depths_and_the_error_of_distances_that_depths_weigh(counter):
    grid = counter.grid
    points = [torch.tensor([[6.0, 5.0], [14.5, 12.5]]), torch.zeros(0, 2)]
    sizes = torch.tensor([[20, 16], [9, 12]])
    torch.manual_seed(1)
    shape = (16 // grid, 24 // grid)
    logits, distances = torch.randn(2, 1, *shape), 5 * torch.randn(2, 16, *shape)
    made = build_counter({**MODEL, "grid": grid}, load_weights=False)
    made.net.forward = lambda pixels: (logits, distances)
    images = Images(torch.zeros(2, 3, 16, 24), sizes, 1.0, ["a", "b"])
    terms = made.loss(Batch(images, points))
    entropies, weights, errors, lengths = [], [], [], []
    for image, (width, height) in enumerate(sizes.tolist()):
        depth, rays = made.targets(points[image], (shape[1], shape[0]), 1.0)
        for y, x in np.ndindex(*shape):
            if (y + 0.5) * grid < height and (x + 0.5) * grid < width:
                chance = float(logits[image, 0, y, x].sigmoid())
                deep = float(depth[y, x])
                entropies.append(-deep * math.log(chance) - (1 - deep) * math.log(1 - chance))
                weights.append(deep)
                said = distances[image, :, y, x]
                errors.append(deep * float((said - rays[:, y, x]).abs().mean()))
                lengths.append((1 - deep) * float(said.abs().mean()))
    assert sum(weights) > 1
    wanted = 0.2 * (sum(errors) / sum(weights) + 1e-4 * np.mean(lengths))
    assert float(terms["loss_depth"]) == pytest.approx(np.mean(entropies), rel=1e-5)
    assert float(terms["loss_distances"]) == pytest.approx(wanted, rel=1e-5)


def test_the_net_has_the_parameters_of_its_levels():
    levels = [(3, 32), (32, 64), (64, 128), (128, 256), (384, 128), (192, 64), (96, 32)]
    layers = [*levels, *((outputs, outputs) for _, outputs in levels), (32, 128)]
    total = sum(9 * inputs * outputs + outputs for inputs, outputs in layers)
    net = build_counter({"type": "StarDist", "grid": 1, "norm": "none"}, load_weights=False)
    assert sum(p.numel() for p in net.parameters()) == total + 129 + 32 * 129


def test_perfect_maps_give_every_cell_back_also_at_borders_and_corners(counter):
    inner = 12.0 * torch.arange(5) + 6
    grid = torch.stack(torch.meshgrid(inner, inner, indexing="xy"), -1).reshape(-1, 2)
    border = torch.tensor([[0.5, 0.5], [63.0, 63.0], [63.0, 0.5]])
    far = (torch.cdist(grid, border) > 7).all(1)
    points = torch.cat([grid[far], border])
    torch.manual_seed(0)
    fresh = build_counter({**MODEL, "grid": counter.grid}, load_weights=False)
    found = perfect(fresh, points, (64, 64))
    apart = torch.cdist(torch.from_numpy(found.points), points)
    assert found.count == len(points)
    assert apart.amin(0).max() < 2.0


def test_an_image_without_cells_has_empty_targets(counter):
    depth, lengths = counter.targets(torch.zeros(0, 2), (8, 6), 1.0)
    assert depth.shape == (6, 8)
    assert lengths.shape == (16, 6, 8)
    assert not depth.any()


def test_the_net_starts_at_the_middle_of_the_radii():
    torch.manual_seed(0)
    fresh = build_counter(
        {**MODEL, "least_radius_px": 4.0, "most_radius_px": 8.0}, load_weights=False
    )
    _, distances = fresh.net(torch.randn(2, 3, 16, 16))
    assert float(distances.detach().mean()) == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    ("options", "sentence"), [({"least_radius_px": 20.0}, "least_radius_px"), ({"rays": 2}, "rays")]
)
def test_options_that_make_no_shape_are_told(options, sentence):
    with pytest.raises(PartError, match=sentence):
        build_counter({**MODEL, **options}, load_weights=False)
