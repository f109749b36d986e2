"""Claims about what every counter has from its base class."""

import numpy as np
import pytest
import torch
from torch import nn

from cellbench.metrics.thresholds import choose_threshold
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter, ValidationSet, total_loss
from cellbench.models.parts import Backbone, FeatureShape
from cellbench.models.scored import ScoredCounter, original_points, scored
from cellbench.structures import CellSample, Prediction


class Trunk(Backbone):
    """A convolution, and one that no gradient reaches."""

    shapes = (FeatureShape(2, 1),)

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.untrained = {"unused": "a branch that is not taken"}

    def forward(self, images):
        return [self.used(images)]


class Mean(CellCounter):
    """Counts the mean of a map."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Conv2d(2, 1, 1)

    def network(self, pixels):
        return (self.head(self.trunk(pixels)[0]).mean(dim=(1, 2, 3)),)

    def terms(self, outputs, batch):
        wanted = torch.tensor([float(len(points)) for points in batch.points])
        return {"loss": (outputs[0] - wanted).abs(), "error": outputs[0].sum()}

    def infer(self, images):
        return [Prediction(count.item()) for count in self.network(images.pixels)[0]]

    def select(self, candidates):
        return Prediction(candidates.count + 1)


@pytest.fixture
def counter():
    torch.manual_seed(0)
    return Mean().eval()


@pytest.fixture
def batch():
    pixels = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    images = Images(pixels, torch.tensor([[5, 4]] * 2), 1.0, ["a", "b"])
    return Batch(images, [torch.zeros(3, 2), torch.zeros(0, 2)])


@torch.no_grad()
def test_a_counter_is_called_for_its_loss_its_counts_or_its_candidates(counter, batch):
    """As data-parallel training and mmengine call it."""
    with torch.no_grad():
        counts = counter.network(batch.images.pixels)[0]
    loss = counter(batch=batch)["loss"]
    torch.testing.assert_close(loss, (counts - torch.tensor([3.0, 0.0])).abs())
    assert torch.equal(counter(batch=batch, mode="loss")["loss"], loss)
    candidates = counter(images=batch.images, mode="tensor")
    assert [found.count for found in candidates] == counts.tolist()
    predicted = counter(images=batch.images, mode="predict")
    assert [found.count for found in predicted] == [found.count + 1 for found in candidates]
    with pytest.raises(ValueError, match="needs a batch"):
        counter(images=batch.images)
    with pytest.raises(ValueError, match="'predict' needs images"):
        counter(batch=batch, mode="predict")


def test_the_loss_is_the_sum_of_its_own_terms():
    terms = {
        "loss": torch.tensor([1.0, 3.0]),
        "loss_count": torch.tensor(0.5),
        "mae": torch.ones(2),
    }
    assert total_loss(terms) == 2.5
    with pytest.raises(ValueError, match=r"starts with 'loss': \['mae'\]"):
        total_loss({"mae": torch.ones(2)})


def test_trunks_learn_at_their_own_rate_and_what_is_frozen_at_none(counter):
    def grouped():
        groups = counter.parameter_groups(lr=1.0, trunk_lr=0.1)
        return {group["lr"]: {id(p) for p in group["params"]} for group in groups}

    trunk, head = counter.trunk, counter.head
    everything = {0.1: {id(p) for p in trunk.parameters()}, 1.0: {id(p) for p in head.parameters()}}
    assert grouped() == everything
    trunk.unused.requires_grad_(False)
    assert grouped() == everything | {0.1: {id(p) for p in trunk.used.parameters()}}
    trunk.used.requires_grad_(False)
    assert grouped() == {1.0: everything[1.0]}


def test_what_no_gradient_reaches_is_named_and_can_be_frozen(counter, batch):
    assert dict(counter.untrained) == {"trunk.unused": "a branch that is not taken"}
    total_loss(counter.loss(batch)).backward()
    without = {name for name, p in counter.named_parameters() if p.grad is None}
    assert without == {"trunk.unused.weight", "trunk.unused.bias"}
    counter.freeze_untrained()
    assert {name for name, p in counter.named_parameters() if not p.requires_grad} == without


def test_a_counter_is_where_its_tensors_are(counter):
    assert counter.device == torch.device("cpu")
    assert counter.to("meta").device == torch.device("meta")


class Bare(CellCounter):
    """Has nothing of what a method has to have."""

    def infer(self, images):
        return []


def test_what_a_method_lacks_is_named(batch):
    bare = Bare()
    with pytest.raises(NotImplementedError, match="Bare has neither a loss nor a network"):
        bare.loss(batch)
    with pytest.raises(NotImplementedError, match="Bare has neither a loss nor its terms"):
        bare.terms((), batch)
    with pytest.raises(NotImplementedError, match="Bare has no answer: its class does not state"):
        bare.answer(batch.images.pixels)
    assert [stage.name for stage in bare.stages] == ["training"]
    assert (bare.calibrate(None), bare.reading(), bare.fit(None, None)) == ({}, {}, False)
    assert bare.calibrates_count


class Points(ScoredCounter):
    """Finds what it is told to."""

    def infer(self, images):
        return []


class Shown(Points):
    """Its points are shown, and its count comes from elsewhere."""

    counts_points = False


def candidates():
    points = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Prediction(7.5, points, np.array([0.2, 0.5, 0.9], np.float32))


def test_a_counter_with_a_threshold_pads_images_as_every_counter_does():
    padded = [made.data_preprocessor.size_multiple for made in (Points(threshold=0.5), Bare())]
    assert padded[0] == padded[1]
    assert padded[0] % 32 == 0, "the deepest map of a trunk has a stride of 32"


def test_points_from_the_threshold_on_are_counted():
    counter = Points(threshold=0.5, size_multiple=1)
    found = counter.select(candidates())
    assert found.points.tolist() == [[2, 3], [4, 5]]
    assert found.scores.tolist() == pytest.approx([0.5, 0.9])
    assert found.count == 2.0
    assert not counter.calibrates_count
    with pytest.raises(ValueError, match="candidates of a Points have points and scores"):
        counter.select(Prediction(2.0))


@pytest.mark.parametrize("high", [0.75, 0.7])
def test_the_chosen_threshold_is_kept_as_it_is_where_float32_holds_it_and_never_below(high):
    found = Prediction(2.0, np.zeros((2, 2), np.float32), np.array([0.25, high], np.float32))
    truth = CellSample("a", np.zeros((1, 2), np.float32), (9, 9))
    counter = Points(threshold=0.1, size_multiple=1)
    kept = counter.calibrate(ValidationSet([found], [truth], 2.0))["threshold"]
    chosen = choose_threshold([found], [truth], radius_px=2.0, counted=True)
    assert kept == chosen if np.float32(chosen) == chosen else kept >= chosen
    assert kept == counter.threshold
    assert counter.select(found).count == 1.0


def test_a_count_from_elsewhere_is_left_and_may_be_corrected():
    counter = Shown(threshold=0.5, size_multiple=1)
    found = counter.select(candidates())
    assert (found.count, len(found.points)) == (7.5, 2)
    assert counter.calibrates_count


def test_as_many_cells_as_points():
    assert scored(np.zeros((3, 2), np.float32), np.ones(3, np.float32)).count == 3.0


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_points_are_put_into_the_original_image(scale):
    """An image of 40x20 px, fed at a scale; the first point is inside, the others are not."""
    sizes = torch.tensor([[7, 7], [round(40 * scale), round(20 * scale)]])
    images = Images(torch.zeros(2, 3, 64, 96), sizes, scale, ["a", "b"])
    given = torch.tensor([[10.0, 4.0], [-3.0, 5.0], [500.0, 4.0], [3.0, 20.0 * scale]])
    found = original_points(given, images, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [10 / scale, 4 / scale])
    np.testing.assert_allclose(found[1], [0, 5 / scale])
    assert (found >= 0).all()
    assert (found < [40, 20]).all(), "the right and lower border belong to no pixel"
    np.testing.assert_allclose(found[2:], [[40, 4 / scale], [3 / scale, 20]], rtol=1e-6)
