"""The skeleton of point-based methods, with small parts whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cellbench.errors import PartError, UserError
from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.counter import ValidationSet
from cellbench.models.matching import match_batch
from cellbench.models.parts import Backbone, Decoder, FeatureShape, Head, Matcher, Proposals
from cellbench.models.point_counter import PointCounter
from cellbench.models.weights import RANDOM
from cellbench.structures import CellSample, Prediction
from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins.losses.point import PointLoss


class Pool(Backbone):
    """Averages 4x4 px."""

    shapes = (FeatureShape(3, 4),)

    def forward(self, images):
        return [nn.functional.avg_pool2d(images, 4)]


class First(Decoder):
    """The first map."""

    shape = FeatureShape(3, 4)

    def forward(self, features):
        return features[0]


class ChannelHead(Head):
    """Logit = channel 0, offset = channels 1 and 2; answers may be moved by a parameter."""

    spacing_px = 4.0

    def __init__(self, peaks=None):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.allowed = peaks

    def forward(self, features):
        features = features + self.shift
        references = lattice(tuple(features.shape[-2:]), 4, features.device)
        points = references + features[:, 1:].flatten(2).mT
        return Proposals(points, features[:, 0].flatten(1), references, 4.0)

    def peaks(self, proposals, grid):
        if self.allowed is None:
            return None
        self.seen = proposals.logits
        return (
            torch.tensor(self.allowed)[: grid[1]].repeat(grid[0]).expand(len(proposals.points), -1)
        )


class Nearest(Matcher):
    """Cell j with proposal j; remembers what it was shown."""

    def __init__(self):
        self.calls = []

    def match(self, proposals, scores, cells, *, scale=1.0):
        self.calls.append((proposals, scores, cells, scale))
        rows = torch.arange(min(len(proposals), len(cells)))
        return rows, rows


def counter(head=None, **options):
    return PointCounter(
        backbone=Pool(),
        decoder=First(),
        head=head or ChannelHead(),
        matcher=Nearest(),
        loss=PointLoss(),
        size_multiple=4,
        **options,
    )


def images(pixels, sizes=None, scale=1.0):
    sizes = sizes or [(pixels.shape[3], pixels.shape[2])] * len(pixels)
    return Images(
        pixels, torch.tensor(sizes).view(-1, 2), scale, [str(i) for i in range(len(pixels))]
    )


def flat(logit, dx=0.0, dy=0.0, *, batch=1, height=8, width=12):
    return (
        torch.tensor([logit, dx, dy])[None, :, None, None].expand(batch, 3, height, width).clone()
    )


def test_candidates_are_reported_in_px_of_the_original_image():
    (prediction,) = counter().infer(images(flat(2.0, 1.0, -1.0), scale=2.0))
    assert prediction.points.dtype == prediction.scores.dtype == np.float32
    assert prediction.points.tolist() == [
        [1.5, 0.5], [3.5, 0.5], [5.5, 0.5], [1.5, 2.5], [3.5, 2.5], [5.5, 2.5],
    ]  # fmt: skip
    np.testing.assert_allclose(prediction.scores, 1 / (1 + np.exp(-2.0)), rtol=1e-6)
    assert prediction.count == 6.0


def test_references_in_padding_are_neither_counted_nor_matched():
    model = counter()
    narrow = images(flat(2.0, batch=2), sizes=[(12, 8), (6, 8)])
    whole, cut = model.infer(narrow)
    assert whole.count == 6
    assert cut.points.tolist() == [[2, 2], [2, 6]]  # the reference at x = 6 is outside [0, 6)
    cells = [torch.tensor([[2.0, 2.0]]), torch.tensor([[1.0, 1.0], [5.0, 7.0]])]
    model.loss(Batch(narrow, cells))
    shown = model.matcher.calls[1]
    assert shown[0].tolist() == [[2, 2], [2, 6]]


def test_rows_of_a_match_point_at_the_matched_proposals_beyond_padding():
    model = counter()
    batch = Batch(images(flat(0.0), sizes=[(6, 8)]), [torch.tensor([[0.0, 0.0], [2.0, 6.0]])])
    proposals, valid, _ = model._propose(batch.images)
    pairs = match_batch(model.matcher, proposals, valid, batch.host_points, scale=1.0)
    assert pairs.row.tolist() == [0, 3]  # 3 columns of references, of which 1 lies in the image
    assert pairs.image.tolist() == [0, 0]
    assert pairs.cell.tolist() == [[0, 0], [2, 6]]


def test_points_carried_over_the_border_count_on_the_border():
    (prediction,) = counter().infer(images(flat(2.0, -9.0, 30.0), scale=2.0))
    assert prediction.count == 6
    assert prediction.points[0, 0] == 0
    assert (prediction.points < [6, 4]).all()
    assert (prediction.points[:, 1] > 3.999).all()


def test_candidates_below_the_floor_are_dropped():
    pixels = flat(-9.0)
    pixels[:, 0, :4, :4] = 0.0
    (prediction,) = counter(score_floor=0.1).infer(images(pixels))
    assert prediction.points.tolist() == [[2, 2]]


def test_of_candidates_that_stand_for_one_cell_the_best_alone_counts():
    pixels = flat(0.0)  # references 4 px apart
    pixels[:, 0, :4, 4:8] = 1.0
    pixels[:, 1, :4, :4], pixels[:, 1, :4, 8:] = 2.0, -1.5  # 2 and 2.5 px from the one between
    points = {
        apart_px: counter(apart_px=apart_px).infer(images(pixels, scale=2.0))[0].points.tolist()
        for apart_px in (0.0, 2.0, 2.5)
    }
    below = [[1.0, 3.0], [3.0, 3.0], [5.0, 3.0]]
    assert points[0.0] == [[2.0, 1.0], [3.0, 1.0], [4.25, 1.0], *below]
    assert points[2.0] == [[3.0, 1.0], [4.25, 1.0], *below]
    assert points[2.5] == [[3.0, 1.0], *below]


def test_near_candidates_are_added_to_the_best_of_them():
    pixels = flat(0.0)
    pixels[:, 0, :4, 4:8] = 1.0
    pixels[:, 1, :4, :4] = 2.0  # 2 px from the one between
    (one,) = counter(apart_px=2.0).infer(images(pixels))
    (added,) = counter(apart_px=2.0, near="add").infer(images(pixels))
    assert len(added.points) == len(one.points) == 5
    best, other = 1 / (1 + np.exp(-1.0)), 0.5
    assert added.scores[0] == pytest.approx(min(1.0, best + other))
    assert added.points[0] == pytest.approx([6 - 2 * other / (best + other), 2], abs=1e-5)
    assert added.points[1:].tolist() == one.points[1:].tolist()
    assert added.scores[1:].tolist() == one.scores[1:].tolist()


def uneven(width, height, seed=0):
    """Pixels that have the first parts' answers, no two of them alike."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randn(2, 3, height, width, generator=rng)
    return torch.repeat_interleave(torch.repeat_interleave(pixels[..., ::4, ::4], 4, 2), 4, 3)


class Plain(ChannelHead):
    """Answers without offsets, which a turned picture would have to turn."""

    def forward(self, features):
        proposals = super().forward(features)
        return replace(proposals, points=proposals.references.expand_as(proposals.points))


@pytest.mark.parametrize("views", [2, 4, 8])
def test_what_sees_all_ways_alike_counts_as_in_one(views):
    seen = images(uneven(16, 8), sizes=[(16, 8), (11, 7)])
    ones = counter(Plain(), apart_px=0.5, near="add").infer(seen)
    many = counter(Plain(), apart_px=0.5, near="add", views=views).infer(seen)
    for one, found in zip(ones, many, strict=True):
        assert found.points.tolist() == one.points.tolist()
        np.testing.assert_allclose(found.scores, one.scores, atol=1e-6)


def test_a_candidate_that_only_one_view_shows_has_its_share_of_the_score():
    class Once(Plain):
        looks = 0

        def forward(self, features):
            proposals = super().forward(features)
            self.looks += 1
            return replace(proposals, logits=proposals.logits - (20.0 if self.looks > 1 else 0.0))

    seen = images(flat(2.0))
    (one,) = counter(Plain(), apart_px=0.5, near="add").infer(seen)
    (quarter,) = counter(Once(), apart_px=0.5, near="add", views=4).infer(seen)
    np.testing.assert_allclose(quarter.scores, one.scores / 4, rtol=1e-5)


def test_several_views_need_candidates_that_add_up():
    with pytest.raises(PartError, match="seen in 1 to 8 ways, not 9"):
        counter(views=9, apart_px=1.0, near="add")
    with pytest.raises(PartError, match="need apart_px above 0"):
        counter(views=4, near="add")
    with pytest.raises(PartError, match="need apart_px above 0"):
        counter(views=4, apart_px=2.0)


def test_a_negative_distance_is_refused():
    with pytest.raises(PartError, match=r"apart_px is 0 or more, not -1"):
        counter(apart_px=-1.0)


def test_only_peaks_are_counted_and_padding_is_no_rival():
    head = ChannelHead(peaks=[True, False, True])
    model = counter(head)
    (prediction,) = model.infer(images(flat(2.0), sizes=[(6, 8)]))
    assert prediction.points.tolist() == [[2, 2], [2, 6]]
    assert torch.isneginf(head.seen.view(2, 3)[:, 1:]).all()


def test_a_network_that_answers_nan_counts_nothing_and_has_a_loss_of_nan():
    model = counter()
    pixels = flat(float("nan"))
    assert model.predict(images(pixels))[0].count == 0
    terms = model.loss(Batch(images(pixels), [torch.ones(2, 2)]))
    assert sum(terms.values()).isnan()
    assert model.matcher.calls == []


def test_selection_is_by_the_threshold_inclusive():
    model = counter(threshold=0.5)
    scores = np.array([0.4, 0.5, 0.6], dtype=np.float32)
    candidates = Prediction(3.0, np.arange(6, dtype=np.float32).reshape(3, 2), scores)
    kept = model.select(candidates)
    assert kept.count == 2
    assert kept.points.tolist() == [[2, 3], [4, 5]]
    assert kept.scores.tolist() == scores[1:].tolist()


def test_the_threshold_is_chosen_on_validation_and_travels_with_the_weights():
    points = np.array([[1, 1], [5, 5], [9, 9]], dtype=np.float32)
    scores = np.array([0.9, 0.2, 0.1], dtype=np.float32)
    validation = ValidationSet(
        candidates=[Prediction(3.0, points, scores)],
        truth=[CellSample("a", points[:2], (12, 12))],
        radius_px=2.0,
    )
    model = counter()
    chosen = model.calibrate(validation)
    assert list(chosen) == ["threshold"]
    assert 0.1 < chosen["threshold"] <= 0.2000001
    other = counter()
    other.load_state_dict(model.state_dict())
    assert other.select(validation.candidates[0]).count == 2
    assert other.threshold.item() == chosen["threshold"]


def test_rounding_the_threshold_never_lets_a_lower_score_in(monkeypatch):
    from cellbench.metrics import thresholds

    low = np.float32(0.3)
    between = float(low) + 1e-10  # nearest float32 is `low` itself
    monkeypatch.setattr(thresholds, "choose_threshold", lambda *a, **k: between)
    model = counter()
    model.calibrate(ValidationSet([], [], 1.0))
    two = Prediction(
        2.0, np.zeros((2, 2), np.float32), np.array([low, np.nextafter(low, 1, dtype=np.float32)])
    )
    assert model.select(two).count == 1


def test_images_without_cells_and_a_batch_of_none_have_a_finite_loss():
    model = counter()
    for pixels in (flat(0.0, batch=2), flat(0.0)[:0]):
        cells = [torch.zeros(0, 2)] * len(pixels)
        terms = model.loss(Batch(images(pixels), cells))
        assert all(torch.isfinite(term) for term in terms.values())


def test_more_cells_than_proposals_is_no_matter():
    terms = counter().loss(Batch(images(flat(0.0)), [torch.rand(50, 2) * 8]))
    assert all(torch.isfinite(term) for term in terms.values())


def test_a_multiple_that_a_stride_does_not_divide_is_refused():
    with pytest.raises(PartError, match=r"model.size_multiple.*\[4\].*6 is not; try 4"):
        PointCounter(
            backbone=Pool(), decoder=First(), head=ChannelHead(), matcher=Nearest(),
            loss=PointLoss(), size_multiple=6,
        )  # fmt: skip


def test_without_a_loss_on_points_what_moves_them_is_frozen_and_listed():
    class Moving(ChannelHead):
        point_modules = ("moves",)

        def __init__(self):
            super().__init__()
            self.moves = nn.Linear(2, 2)

    model = PointCounter(
        backbone=Pool(), decoder=First(), head=Moving(), matcher=Nearest(),
        loss=PointLoss(point_weight=0.0), size_multiple=4,
    )  # fmt: skip
    assert list(model.untrained) == ["head.moves."]
    assert "no term on points" in model.untrained["head.moves."]
    assert [p.requires_grad for p in model.head.moves.parameters()] == [False, False]
    assert counter(Moving()).untrained == {}


def config(**changed):
    base = {
        "type": "PointCounter",
        "backbone": {"type": "VGG16", "strides": [8], "weights": None},
        "decoder": {"type": "FPN", "stride": 8, "channels": 16, "conv": {"type": "Standard"}},
        "head": {"type": "PointHead", "channels": 8},
        "matcher": {"type": "Hungarian"},
        "loss": {"type": "PointLoss"},
    }
    return base | changed


def test_a_config_becomes_a_counter_with_real_parts():
    model = build_counter(config())
    assert type(model).__name__ == "PointCounter"
    assert isinstance(model, PointCounter)
    assert model.weights_info == RANDOM
    assert model.decoder.shape == FeatureShape(16, 8)


def test_the_trunk_learns_at_its_own_rate_and_everything_trainable_is_grouped_once():
    model = build_counter(
        config(backbone={"type": "VGG16", "strides": [8], "weights": None, "frozen_stages": 1})
    )
    trunk, rest = model.parameter_groups(lr=1.0, trunk_lr=0.1)
    assert (trunk["lr"], rest["lr"]) == (0.1, 1.0)
    grouped = [id(p) for group in (trunk, rest) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    ours = {id(p) for p in model.backbone.parameters()}
    assert {id(p) for p in trunk["params"]} <= ours
    assert not {id(p) for p in rest["params"]} & ours


def test_weights_and_images_are_channels_last():
    model = build_counter(config())
    assert model.backbone.features[3].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("load", [True, False])
def test_weights_are_asked_for_only_where_they_are_wanted(load, monkeypatch):
    from cellbench.models import build
    from cellbench.models.weights import WeightsInfo

    asked = []
    info = WeightsInfo("vgg16-imagenet+bn", "0" * 64, "vgg16_bn")

    def give(module, arch, *, say):
        asked.append((type(module).__name__, arch, say))
        return info

    monkeypatch.setattr(build, "load_trunk_weights", give)
    wanted = {"type": "VGG16", "strides": [8], "weights": "imagenet"}
    model = build_counter(config(backbone=wanted), say=print, load_weights=load)
    assert asked == ([("VGG16", "vgg16_bn", print)] if load else [])
    assert model.weights_info == (info if load else RANDOM)


def head(**changed):
    return {"head": {"type": "PointHead"} | changed}


def fpn(**changed):
    return {"decoder": {"type": "FPN"} | changed}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"type": "PointConter"}, "There is no counter called 'PointConter'; did you mean Point"),
        ({"score_flor": 0.1}, "^model.score_flor: PointCounter takes no.*did you mean 'score_fl"),
        ({"threshold": "high"}, "^model.threshold: PointCounter wants a number here, not 'high'"),
        ({"head": 3}, "^model.head: PointCounter wants a dict here, not 3"),
        ({"head": {}}, "^model.head: A head is a dict with a 'type'"),
        (head(type="PointHed"), "^model.head: There is no head called.*did you mean PointHead"),
        (head(channel=8), "^model.head.channel: .*did you mean 'channels'"),
        (head(channels="8"), "^model.head.channels: PointHead wants a whole number here, not '8'"),
        (head(spacing_px=3), "^model.head: spacing_px: "),
        (fpn(stride=4), "^model.decoder: stride: "),
        (fpn(conv={"type": "Standart"}), "^model.decoder.conv: There is no conv called"),
        (fpn(conv={"type": "Standard", "k": 3}), "^model.decoder.conv.k: Standard takes no 'k'"),
        (fpn(conv=3), "^model.decoder.conv: A conv is a dict with a 'type'"),
    ],
)
def test_a_wrong_config_is_one_sentence_with_the_path_of_the_key(changed, message):
    with pytest.raises(UserError, match=message) as caught:
        build_counter(config(**changed))
    assert "\n" not in str(caught.value)


def test_a_missing_part_is_named():
    broken = config()
    del broken["matcher"]
    with pytest.raises(UserError, match=r"model.matcher: PointCounter needs 'matcher'"):
        build_counter(broken)


def test_no_config_at_all_is_an_error():
    with pytest.raises(UserError, match="model: a dict with a 'type' is wanted here"):
        build_counter({})


def test_the_registered_class_takes_what_the_skeleton_takes():
    import inspect

    from cellbench.registry import COUNTERS

    registered = COUNTERS.get("PointCounter")
    assert inspect.signature(registered) == inspect.signature(PointCounter)
