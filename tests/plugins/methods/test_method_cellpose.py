"""Cellpose: targets, the way from perfect maps to cells, the style without its padding."""

import numpy as np
import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench_plugins.methods.cellpose import _style

MODEL = {"type": "Cellpose", "widths": [4, 8, 8]}


def counter_with(**options):
    torch.manual_seed(0)
    return build_counter({**MODEL, **options}, load_weights=False)


def answer(counter, points, *, turned=(), size=(64, 64)):
    """What comes of a net that says what it should, but for cells whose flow is turned round."""
    flow, labels = counter.targets(points, size, 1.0)
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
    flow, labels = counter_with().targets(torch.zeros(0, 2), (8, 6), 1.0)
    assert flow.shape == (2, 6, 8)
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
