"""Claims about the shipped contract tests: a part that is wrong in one way is named for it."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional as F

from cellbench.data.contracts import Picture, SimulatedImage, Simulator, Transform
from cellbench.models.counter import CellCounter
from cellbench.models.parts import Decoder, FeatureShape, Matcher, ProposalLoss
from cellbench.registry import REGISTRIES
from cellbench.structures import Prediction
from cellbench.testing import counters, data, network_parts
from cellbench.testing.contract_claim import ContractError
from cellbench.testing.data import DataSubject
from cellbench.testing.part_subject import PartSubject
from cellbench.testing.samples import CounterCase, CounterSubject


@pytest.fixture
def register():
    """Register a class under its role for one test; gives its name."""
    made = []

    def put(role, part, name="Wrong"):
        REGISTRIES[role].register_module(module=part, name=name)
        made.append((role, name))
        return name

    yield put
    for role, name in made:
        del REGISTRIES[role]._module_dict[name]


def solved(cost):
    return tuple(torch.as_tensor(found) for found in linear_sum_assignment(cost.numpy()))


class Flipped(Matcher):
    def match(self, proposals, scores, cells, *, scale=1.0):
        return solved(torch.cdist(proposals, cells.flip(1)))


class Moving(Matcher):
    def match(self, proposals, scores, cells, *, scale=1.0):
        found = solved(torch.cdist(proposals, cells))
        cells += 5
        return found


class Dividing(Matcher):
    def match(self, proposals, scores, cells, *, scale=1.0):
        apart = torch.cdist(cells, cells) + torch.eye(len(cells)) * 1e9
        nearest = apart.min(dim=1).values if len(cells) > 1 else torch.ones(len(cells))
        return solved((torch.cdist(proposals, cells) / nearest).nan_to_num(np.inf, np.inf))


class Sharing(Matcher):
    def match(self, proposals, scores, cells, *, scale=1.0):
        self.cost = torch.cdist(proposals, cells)
        torch.linalg.svdvals(torch.rand(200, 200))  # another thread has time to come in
        return solved(self.cost)


@pytest.mark.parametrize(
    ("part", "claim", "words"),
    [
        (Flipped, "a_cell_is_paired_with_the_proposal_that_lies_on_it", "and one lies on it"),
        (Moving, "matching_leaves_its_arguments_alone", "changes the arrays"),
        (Sharing, "images_matched_at_once_change_nothing", "from several threads"),
    ],
)
def test_a_wrong_matcher_is_named(register, part, claim, words):
    subject = PartSubject("matcher", {"type": register("matcher", part)})
    with pytest.raises(ContractError, match=words):
        getattr(network_parts, claim)(subject)


def test_a_matcher_that_fails_on_two_cells_in_one_place_is_found(register):
    subject = PartSubject("matcher", {"type": register("matcher", Dividing)})
    with pytest.raises(ValueError, match="infeasible"):
        network_parts.cells_and_proposals_in_one_place_are_paired_too(subject)


class EmptyMean(ProposalLoss):
    """NaN without cells."""

    def forward(self, proposals, pairs, valid):
        away = proposals.points[pairs.image, pairs.row] - pairs.cell
        scores = torch.where(valid, proposals.logits, 0.0).square().mean()
        return {"loss_point": away.square().mean(), "loss_score": scores}


class Padded(ProposalLoss):
    def forward(self, proposals, pairs, valid):
        return {"loss": proposals.logits.square().mean()}


class Stated(Decoder):
    """States twice its stride."""

    def __init__(self, in_shapes, conv):
        super().__init__()
        self.conv = conv(in_shapes[0].channels, 8)
        self.shape = FeatureShape(8, 2 * in_shapes[0].stride)

    def forward(self, features):
        return self.conv(features[0])


class Lucky(Stated):
    def __init__(self, in_shapes, conv):
        super().__init__(in_shapes, conv)
        self.shape = FeatureShape(8, in_shapes[0].stride)

    def forward(self, features):
        return F.dropout(self.conv(features[0]), training=True)


@pytest.mark.parametrize(
    ("role", "part", "claim", "words"),
    [
        ("loss", EmptyMean, "a_counter_with_it_learns_from_images_without_cells", "loss is nan"),
        ("loss", Padded, "what_lies_in_padding_changes_no_loss", "proposals in padding"),
        ("decoder", Stated, "its_maps_have_the_shapes_that_it_states", "it states shapes for"),
        (
            "decoder",
            Lucky,
            "a_counter_with_it_counts_an_image_alike_alone_and_in_a_batch",
            "not equal",
        ),
    ],
)
def test_a_wrong_part_of_a_network_is_named(register, role, part, claim, words):
    subject = PartSubject(role, {"type": register(role, part)})
    with pytest.raises(AssertionError, match=words):
        getattr(network_parts, claim)(subject)


class Sound(CellCounter):
    """Counts the light of a picture."""

    def __init__(self):
        super().__init__(size_multiple=8)
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, batch):
        return {"loss": (self.weight * batch.images.pixels).square().mean()}

    def infer(self, images):
        return [Prediction(float(own.abs().sum())) for own in images.pixels]


class LeavesEvaluation(Sound):
    def infer(self, images):
        self.train()
        return super().infer(images)


class ForgetsWhatItChose(Sound):
    more = 0.0

    def calibrate(self, validation):
        self.more = 1.0
        return {"more": 1.0}

    def select(self, candidates):
        return Prediction(candidates.count + self.more)


class Unseeded(Sound):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] * np.random.default_rng().random()}


class NeverTheSame(Sound):
    trained = 0

    def fit(self, train, validation):
        type(self).trained += 1
        return True

    def infer(self, images):
        return [Prediction(float(self.trained)) for _ in range(len(images))]


class Erasing(Sound):
    def infer(self, images):
        points = np.ones((1, 2), np.float32)
        return [Prediction(1.0, points.copy(), np.ones(1, np.float32)) for _ in images.image_ids]

    def select(self, candidates):
        candidates.points[:] = 0
        return candidates


@pytest.mark.parametrize(
    ("part", "claim", "words"),
    [
        (LeavesEvaluation, "counting_changes_no_state", "in training mode"),
        (ForgetsWhatItChose, "a_saved_counter_counts_as_before", "from its state dict"),
        (Unseeded, "one_seed_gives_one_loss", "of the same seed and batch"),
        (NeverTheSame, "training_twice_gives_the_same_counts", "trained twice"),
        (Erasing, "choosing_candidates_leaves_them_alone", "changes the candidates"),
    ],
)
def test_a_wrong_counter_is_named(register, part, claim, words):
    sound = CounterSubject.of(CounterCase("Sound", {"type": register("counter", Sound, "Sound")}))
    getattr(counters, claim)(sound)
    subject = CounterSubject.of(CounterCase("Wrong", {"type": register("counter", part)}))
    with pytest.raises(ContractError, match=words):
        getattr(counters, claim)(subject)


def mirrored(picture):
    points = picture.points.copy()
    points[:, 0] = picture.size[0] - points[:, 0]
    return Picture(picture.pixels[:, ::-1].copy(), points)


class Mirror(Transform):
    def __call__(self, picture, rng):
        return mirrored(picture)


class PixelsAlone(Transform):
    def __call__(self, picture, rng):
        return Picture(mirrored(picture).pixels, picture.points)


class Losing(Transform):
    def __call__(self, picture, rng):
        return Picture(picture.pixels, picture.points[1:])


class OwnChance(Transform):
    def __init__(self):
        self.own = np.random.default_rng(0)

    def __call__(self, picture, rng):
        return mirrored(picture) if self.own.random() < 0.5 else picture


class Grey255(Transform):
    def __call__(self, picture, rng):
        return Picture(picture.pixels.astype(np.float32), picture.points)


@pytest.mark.parametrize(
    ("part", "claim", "words"),
    [
        (PixelsAlone, "a_transform_moves_points_with_their_cells", "moves a point off its cell"),
        (Losing, "a_transform_moves_points_with_their_cells", "points after it"),
        (OwnChance, "a_transform_leaves_its_argument_alone", "draw from `rng` alone"),
        (Grey255, "transformed_points_lie_in_their_picture", "not uint8 or float32 from 0 to 1"),
    ],
)
def test_a_wrong_transform_is_named(register, part, claim, words):
    getattr(data, claim)(DataSubject(register("transform", Mirror, "Mirror"), {}))
    with pytest.raises(ContractError, match=words):
        getattr(data, claim)(DataSubject(register("transform", part), {}))


class Drawn(Simulator):
    name, title, images, stands_for = "vgg-sim", "VGG", 9, "vgg"

    def draw(self, index, *, seed=0):
        rng = np.random.default_rng([seed, index])
        points = (rng.random((4, 2)) * 20).astype(np.float32)
        return SimulatedImage(rng.integers(0, 255, (20, 20, 3), np.uint8), points)


class LeadingOut(Drawn):
    def image_id(self, index):
        return f"../{index}"


class AllAlike(Drawn):
    def draw(self, index, *, seed=0):
        return super().draw(0, seed=seed)


class LastOutside(Drawn):
    def draw(self, index, *, seed=0):
        drawn = super().draw(index, seed=seed)
        drawn.points[0] += 20 * (index == self.images - 1)
        return drawn


@pytest.mark.parametrize(
    ("part", "claim", "words"),
    [
        (LeadingOut, "a_simulated_set_has_a_name_and_an_id_for_each_image", "is no file name"),
        (
            AllAlike,
            "an_image_is_drawn_alike_each_time_and_otherwise_with_another_seed",
            "two indices are the same picture",
        ),
        (LastOutside, "drawn_points_lie_in_their_picture", "point of image 8 lies outside"),
    ],
)
def test_a_wrong_simulator_is_named(monkeypatch, part, claim, words):
    simulators = REGISTRIES["simulator"]
    subject = DataSubject("vgg-sim", {})
    simulators.get("vgg-sim")
    monkeypatch.setitem(simulators._module_dict, "vgg-sim", Drawn)
    getattr(data, claim)(subject)
    monkeypatch.setitem(simulators._module_dict, "vgg-sim", part)
    with pytest.raises(ContractError, match=words):
        getattr(data, claim)(subject)
