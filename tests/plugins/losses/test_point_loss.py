"""The point loss against NumPy and torch's weighted cross-entropy."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.parts import Pairs, Proposals
from cellbench_plugins.losses.point import PointLoss


def example(images=2, count=9, spacing=4.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = (20 * torch.rand(images, count, 2, generator=generator)).requires_grad_()
    logits = torch.randn(images, count, generator=generator).requires_grad_()
    proposals = Proposals(points, logits, points[0].detach() if images else points, spacing)
    cells = [20 * torch.rand(4, 2, generator=generator), torch.zeros(0, 2)][:images]
    rows = [torch.tensor([7, 0, 3, 5]), torch.zeros(0, dtype=torch.int64)][:images]
    which = [torch.tensor([2, 0, 1, 3]), torch.zeros(0, dtype=torch.int64)][:images]
    return proposals, cells, pairs_of(cells, rows, which), torch.ones(images, count) > 0


def pairs_of(cells, rows, which):
    """The pairs of a batch from each image's rows of proposals and of cells."""
    image = [torch.full_like(row, index) for index, row in enumerate(rows)]
    if not rows:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Pairs(nothing, nothing, torch.zeros(0, 2))
    matched = [points[chosen] for points, chosen in zip(cells, which, strict=True)]
    return Pairs(torch.cat(image), torch.cat(rows), torch.cat(matched))


def test_score_term_is_torchs_weighted_softmax_cross_entropy():
    proposals, _cells, pairs, valid = example()
    terms = PointLoss(background_weight=0.5)(proposals, pairs, valid)
    labels = torch.zeros(2, 9, dtype=torch.int64)
    labels[0, [7, 0, 3, 5]] = 1
    two = torch.stack([torch.zeros_like(proposals.logits), proposals.logits], dim=1)
    expected = F.cross_entropy(two, labels, weight=torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(terms["loss_score"], expected)


@pytest.mark.parametrize("norm", ["l2", "smooth_l1"])
def test_point_term_is_the_mean_over_pairs_in_spacings(norm):
    proposals, cells, pairs, valid = example()
    loss = PointLoss(norm=norm, point_weight=0.3, beta=0.25)
    terms = loss(proposals, pairs, valid)
    total = 0.0
    for row, cell in zip([7, 0, 3, 5], [2, 0, 1, 3], strict=True):
        for axis in (0, 1):
            away = abs((proposals.points[0, row, axis] - cells[0][cell, axis]).item()) / 4.0
            if norm == "l2":
                total += away**2
            else:
                total += away - 0.125 if away > 0.25 else away**2 / 0.5
    assert terms["loss_point"].item() == pytest.approx(0.3 * total / 4, rel=1e-5)


def test_p2pnets_weight_is_reproduced_at_its_spacing():
    proposals, cells, pairs, valid = example()
    terms = PointLoss(norm="l2", point_weight=0.0032)(proposals, pairs, valid)
    pairs = proposals.points[0, [7, 0, 3, 5]] - cells[0][[2, 0, 1, 3]]
    torch.testing.assert_close(terms["loss_point"], 2e-4 * pairs.square().sum() / 4)


def test_doubling_the_resolution_leaves_the_loss_alone():
    proposals, _cells, pairs, valid = example()
    large = Proposals(2 * proposals.points, proposals.logits, 2 * proposals.references, 8.0)
    before = PointLoss()(proposals, pairs, valid)
    after = PointLoss()(large, replace(pairs, cell=2 * pairs.cell), valid)
    torch.testing.assert_close(after, before)


def test_both_terms_are_connected():
    proposals, _cells, pairs, valid = example()
    sum(PointLoss()(proposals, pairs, valid).values()).backward()
    assert (proposals.logits.grad != 0).all()
    moved = proposals.points.grad.abs().sum(-1) > 0
    assert sorted(moved[0].nonzero().flatten().tolist()) == [0, 3, 5, 7]
    assert not moved[1].any()


def test_without_a_point_weight_points_get_no_gradient():
    proposals, _cells, pairs, valid = example()
    loss = PointLoss(point_weight=0.0)
    terms = loss(proposals, pairs, valid)
    assert list(terms) == ["loss_score"]
    assert not loss.trains_points
    terms["loss_score"].backward()
    assert proposals.points.grad is None


def test_proposals_in_padding_count_for_nothing_whatever_they_hold():
    proposals, _cells, pairs, valid = example()
    valid[:, 8] = False
    reference = PointLoss()(proposals, pairs, valid)["loss_score"]
    logits = proposals.logits.detach().clone()
    logits[:, 8] = float("inf")
    logits.requires_grad_()
    other = Proposals(proposals.points, logits, proposals.references, 4.0)
    found = PointLoss()(other, pairs, valid)["loss_score"]
    torch.testing.assert_close(found, reference)
    found.backward()
    assert not logits.grad[:, 8].any()
    assert logits.grad[:, :8].all()


def test_no_cells_at_all_give_a_finite_loss():
    proposals, _, _, valid = example()
    nothing = torch.zeros(0, dtype=torch.int64)
    pairs = pairs_of([torch.zeros(0, 2)] * 2, [nothing] * 2, [nothing] * 2)
    terms = PointLoss()(proposals, pairs, valid)
    assert terms["loss_point"] == 0
    assert torch.isfinite(terms["loss_score"])
    sum(terms.values()).backward()
    assert torch.isfinite(proposals.logits.grad).all()
    assert not proposals.points.grad.any()


def test_an_empty_batch_gives_zero():
    proposals, _cells, pairs, valid = example(images=0)
    terms = PointLoss()(proposals, pairs, valid)
    assert [term.item() for term in terms.values()] == [0, 0]


def test_more_cells_than_proposals_is_no_matter():
    proposals, _, _, valid = example(images=1, count=3)
    cells = [torch.rand(10, 2)]
    pairs = pairs_of(cells, [torch.arange(3)], [torch.tensor([9, 4, 1])])
    terms = PointLoss()(proposals, pairs, valid)
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("options", [{"point_weight": -1.0}, {"beta": 0.0}])
def test_weights_out_of_range_are_refused(options):
    with pytest.raises(PartError, match="at least 0"):
        PointLoss(**options)
