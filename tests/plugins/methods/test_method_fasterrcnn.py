"""Faster R-CNN: boxes from points, anchors, the cap on detections."""

import numpy as np
import pytest
import torch
import torchvision
from torchvision.ops import clip_boxes_to_image

from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench_plugins.methods.fasterrcnn import centres_of_squares

MODEL = {
    "type": "FasterRCNN",
    "backbone": {"type": "VGG16", "strides": [4, 8], "weights": None},
    "channels": 16,
    "hidden": 16,
    "roi_cells": 3,
    "anchors_px": [[6.0], [12.0]],
    "least_box_px": 4.0,
    "most_box_px": 10.0,
}


@pytest.fixture(scope="module")
def counter():
    torch.manual_seed(0)
    return build_counter(MODEL, load_weights=False)


def images(counter, side, scale=1.0):
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return counter.data_preprocessor.images([pixels], scale=scale, image_ids=["a"])


def test_boxes_are_squares_around_the_points_as_wide_as_the_cells_are_apart(counter):
    points = torch.tensor([[10.0, 10.0], [18.0, 10.0], [60.0, 50.0], [60.5, 50.0]])
    boxes = counter.pseudo_boxes(points, 1.0, torch.tensor([64, 64]))
    sides = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(0.5 * (boxes[:, :2] + boxes[:, 2:]), points)
    torch.testing.assert_close(sides[:, 0], torch.tensor([7.2, 7.2, 4.0, 4.0]))
    torch.testing.assert_close(sides[:, 0], sides[:, 1])


def test_an_enlarged_image_has_enlarged_boxes_and_anchors(counter):
    points = torch.tensor([[10.0, 10.0], [18.0, 10.0], [60.0, 50.0]])
    size = torch.tensor([64, 64])
    torch.testing.assert_close(
        counter.pseudo_boxes(2 * points, 2.0, 2 * size),
        2 * counter.pseudo_boxes(points, 1.0, size),
    )
    assert anchor_sides(counter, scale=2.0) == {12.0, 24.0}
    assert anchor_sides(counter, scale=1.0) == {6.0, 12.0}


def anchor_sides(counter, scale):
    from cellbench_plugins.methods.fasterrcnn import _Pictures

    maps = [torch.zeros(1, 16, 8, 8), torch.zeros(1, 16, 4, 4)]
    (anchors,) = counter.proposer.anchor_generator(_Pictures(images(counter, 32, scale)), maps)
    assert anchors.shape == (8 * 8 + 4 * 4, 4)
    assert anchors[0, :2].add(anchors[0, 2:]).div(2).tolist() == [2.0, 2.0]
    return set((anchors[:, 2] - anchors[:, 0]).tolist())


def test_no_points_have_no_boxes(counter):
    none = counter.pseudo_boxes(torch.zeros(0, 2), 1.0, torch.tensor([64, 64]))
    assert none.shape == (0, 4)
    assert centres_of_squares(none, torch.tensor([64, 64])).shape == (0, 2)


def test_a_cell_on_the_border_has_a_box_inside_and_is_read_back_at_its_place(counter):
    size = torch.tensor([60, 40])
    # the middle of each border, half a pixel from one, beside one, and inside
    sides = [[0, 20], [60, 20], [30, 0], [30, 40], [0.5, 10], [59, 30], [30, 20]]
    corners = [[0, 0], [60, 40], [60, 0], [1, 39]]
    points = torch.tensor(sides + corners, dtype=torch.float32)
    boxes = counter.pseudo_boxes(points, 1.0, size)
    assert bool((boxes >= 0).all())
    assert bool((boxes[:, 2:] <= size).all())
    # no proposal that torchvision clips can overlap a box better than the box itself
    torch.testing.assert_close(clip_boxes_to_image(boxes, (40, 60)), boxes)
    centres = centres_of_squares(boxes, size)
    torch.testing.assert_close(centres[: len(sides)], points[: len(sides)])
    # in a corner both sides are cut, and nothing tells by how much: a quarter of the box at most
    assert float((centres - points).abs().max()) <= counter.box_range_px[1] / 4
    assert bool((centres >= 0).all())
    assert bool((centres <= size).all())
    # an image narrower than a box cuts it at both ends
    narrow = centres_of_squares(torch.tensor([[0.0, 10.0, 6.0, 30.0]]), torch.tensor([6, 40]))
    assert narrow.tolist() == [[3.0, 20.0]]


def test_what_the_docstring_does_not_name_is_as_torchvision_has_it(counter):
    trunk = torch.nn.Conv2d(3, 8, 1)
    trunk.out_channels = 8
    theirs = torchvision.models.detection.FasterRCNN(trunk, num_classes=2)
    first, second = counter.proposer, counter.judge
    assert first.nms_thresh == theirs.rpn.nms_thresh
    assert first.score_thresh == theirs.rpn.score_thresh
    assert first.min_size == theirs.rpn.min_size
    assert first.proposal_matcher.low_threshold == theirs.rpn.proposal_matcher.low_threshold
    assert first.proposal_matcher.allow_low_quality_matches
    assert first.fg_bg_sampler.positive_fraction == theirs.rpn.fg_bg_sampler.positive_fraction
    assert second.box_coder.weights == theirs.roi_heads.box_coder.weights
    assert second.box_roi_pool.sampling_ratio == theirs.roi_heads.box_roi_pool.sampling_ratio
    own, other = (heads.proposal_matcher for heads in (second, theirs.roi_heads))
    assert own.high_threshold == own.low_threshold == other.high_threshold
    assert own.allow_low_quality_matches == other.allow_low_quality_matches
    share = theirs.roi_heads.fg_bg_sampler.positive_fraction
    assert second.fg_bg_sampler.positive_fraction == share


def test_more_than_a_hundred_cells_can_be_detected():
    torch.manual_seed(0)
    counter = build_counter({**MODEL, "overlap": 0.99, "score_floor": 0.0}, load_weights=False)
    (found,) = counter.eval().infer(images(counter, 96))
    assert found.count > 300


def test_a_few_steps_on_one_crop_lower_its_loss():
    torch.manual_seed(0)
    counter = build_counter(MODEL, load_weights=False).train()
    points = torch.tensor([[8.0, 8.0], [24.0, 8.0], [8.0, 24.0], [24.0, 24.0]])
    pixels = np.full((32, 32, 3), 230, dtype=np.uint8)
    for x, y in points.int().tolist():
        pixels[y - 3 : y + 4, x - 3 : x + 4] = 20
    batch = Batch(
        counter.data_preprocessor.images([pixels] * 2, scale=1.0, image_ids=["a", "b"]),
        [points, points],
    )
    optimiser = torch.optim.Adam(counter.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = sum(counter.loss(batch).values())
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"anchors_px": [[6.0]]}, "anchors_px"),
        ({"anchors_px": [[6.0], [6.0, 8.0]]}, "same number"),
        ({"least_box_px": 20.0}, "least_box_px"),
    ],
)
def test_sizes_that_do_not_fit_are_told(options, sentence):
    with pytest.raises(PartError, match=sentence):
        build_counter({**MODEL, **options}, load_weights=False)
