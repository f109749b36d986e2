"""The point head."""

import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.heads.point import PointHead


@pytest.mark.parametrize(("stride", "spacing"), [(4, 4), (8, 4), (8, 2), (4, 4 / 3)])
def test_references_tile_the_image_evenly(stride, spacing):
    head = PointHead(FeatureShape(6, stride), spacing_px=spacing, channels=4).eval()
    proposals = head(torch.randn(2, 6, 3, 5))
    across, down = round(5 * stride / spacing), round(3 * stride / spacing)
    assert proposals.points.shape == (2, across * down, 2)
    assert proposals.logits.shape == (2, across * down)
    expected = [
        ((j + 0.5) * spacing, (i + 0.5) * spacing) for i in range(down) for j in range(across)
    ]
    torch.testing.assert_close(proposals.references, torch.tensor(expected))
    assert proposals.spacing_px == spacing


def test_each_reference_answers_for_the_cell_that_it_lies_in():
    torch.manual_seed(0)  # all four channels may start below zero, where nothing answers
    head = PointHead(FeatureShape(3, 8), spacing_px=4, channels=4, norm="none", prior=None)
    features = torch.zeros(1, 3, 6, 6, requires_grad=True)
    proposals = head(features)
    for row, (x, y) in enumerate(proposals.references.tolist()):
        for answer in (proposals.logits[0, row], proposals.points[0, row].sum()):
            (gradient,) = torch.autograd.grad(answer, features, retain_graph=True)
            touched = gradient.abs().sum((0, 1)).nonzero()
            # two 3x3 convolutions see at most two map cells around their own
            centre = torch.tensor([y // 8, x // 8])
            assert (touched - centre).abs().max() <= 2


def test_a_point_is_its_reference_moved_by_the_scaled_offset():
    head = PointHead(FeatureShape(3, 4), offset_scale_px=8.0, channels=4).eval()
    torch.nn.init.zeros_(head.offsets.weight)
    with torch.no_grad():
        head.offsets.bias.copy_(torch.tensor([0.25, -1.0]))
    proposals = head(torch.randn(1, 3, 4, 4))
    moved = proposals.points[0] - proposals.references
    torch.testing.assert_close(moved, torch.tensor([2.0, -8.0]).expand(16, 2))


@pytest.mark.parametrize("prior", [0.01, 0.1, 0.3])
def test_scores_begin_at_the_prior_and_points_at_their_references(prior):
    torch.manual_seed(0)
    head = PointHead(FeatureShape(16, 8), prior=prior)
    proposals = head(torch.randn(2, 16, 8, 8))
    assert proposals.scores.mean().item() == pytest.approx(prior, rel=0.2)
    assert (proposals.points - proposals.references).abs().max() < 8


def test_answers_are_float32_under_autocast():
    head = PointHead(FeatureShape(8, 4)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        proposals = head(torch.randn(1, 8, 100, 1))
    assert proposals.points.dtype == proposals.logits.dtype == torch.float32
    moved = proposals.points - proposals.references
    assert moved.abs().max() < 4  # no place is lost to bfloat16, also at 400 px


def test_separate_towers_share_nothing():
    head = PointHead(FeatureShape(8, 4), towers="separate", depth=2, norm="none")
    head(torch.randn(1, 8, 4, 4)).logits.sum().backward()
    for name, parameter in head.named_parameters():
        moves = name.startswith(tuple(f"{module}." for module in head.point_modules))
        assert (parameter.grad is None) == moves, name


@pytest.mark.parametrize("spacing", [3, 0, -4, 16])
def test_a_spacing_that_does_not_divide_the_stride_is_refused(spacing):
    with pytest.raises(PartError, match=r"stride of 8 px.*try 8"):
        PointHead(FeatureShape(8, 8), spacing_px=spacing)


@pytest.mark.parametrize("prior", [0.0, 1.0, -3.0])
def test_a_prior_that_is_no_probability_is_refused(prior):
    with pytest.raises(PartError, match="between 0 and 1"):
        PointHead(FeatureShape(8, 8), prior=prior)


def test_no_layers_is_refused():
    with pytest.raises(PartError, match="at least 1"):
        PointHead(FeatureShape(8, 8), depth=0)


def test_an_empty_batch_gives_no_proposals():
    head = PointHead(FeatureShape(8, 8), norm="none")
    assert head(torch.zeros(0, 8, 2, 2)).points.shape == (0, 16, 2)
