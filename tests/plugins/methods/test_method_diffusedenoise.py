import math

import numpy as np
import pytest
import torch

from cellbench.data.whole_images import WholeImages
from cellbench.engine.evaluation import infer
from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import ValidationSet
from cellbench.models.parts import Backbone, Decoder, FeatureShape
from cellbench.structures import CellSample, no_points
from cellbench_plugins.methods._denoiser import CountBranch, DenoisingUNet
from cellbench_plugins.methods.diffusedenoise import DiffuseDenoise, Fused


class Tiny(Backbone):
    """Four channels at stride 2."""

    def __init__(self):
        super().__init__()
        self.shapes = (FeatureShape(4, 2),)
        self.layer = torch.nn.Conv2d(3, 4, 2, 2)

    def forward(self, images):
        return [self.layer(images)]


class First(Decoder):
    """The one map as it is."""

    shape = FeatureShape(4, 2)

    def forward(self, features):
        return features[0]


def tiny(**options):
    torch.manual_seed(0)
    options = {"width": 8, "multipliers": (1, 2), "sampling_steps": 2, **options}
    return DiffuseDenoise(backbone=Tiny(), decoder=First(), **options)


class Memory:
    """Pictures in memory, with whatever annotations."""

    def __init__(self, points):
        self.points = points
        self.ids = sorted(points)

    def sample(self, image_id):
        return CellSample(image_id, self.points[image_id], (48, 40))

    def pixels(self, image_id):
        rng = np.random.default_rng(ord(image_id))
        return rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)


def test_the_parameters_of_the_denoiser_are_those_counted_by_hand():
    def conv(inputs, outputs, edge=3):
        return edge * edge * inputs * outputs + outputs

    def block(inputs, outputs):
        return (
            2 * inputs  # the first normalisation
            + conv(inputs, outputs)
            + 128 * 2 * outputs + 2 * outputs  # scale and shift from the time
            + conv(outputs, outputs)
            + (conv(inputs, outputs, 1) if inputs != outputs else 0)
        )  # fmt: skip

    time = 2 * (128 * 128 + 128)
    ends = conv(1, 32) + 2 * 64 + conv(64, 32) + 2 * 32 + conv(32, 1)
    down = block(32, 32) + block(32, 64) + block(64, 64)
    up = block(64 + 64, 64) + block(64 + 64, 64) + block(64 + 32, 32)
    network = DenoisingUNet(64, width=32, multipliers=(1, 2, 2))
    wanted = time + ends + down + block(64, 64) + up
    assert sum(p.numel() for p in network.parameters()) == wanted


def test_the_denoiser_looks_at_a_neighbourhood_alone():
    torch.manual_seed(0)
    network = DenoisingUNet(4, width=8, multipliers=(1, 2)).eval()
    noisy, features = torch.randn(1, 1, 96, 96), torch.randn(1, 4, 96, 96)
    time = torch.tensor([0.5])
    whole, _ = network(noisy, time, network.conditions(features))
    part = (..., slice(0, 96), slice(0, 64))
    cut, _ = network(noisy[part], time, network.conditions(features[part]))
    torch.testing.assert_close(cut[..., :36], whole[..., :36], rtol=1e-4, atol=1e-5)


def test_the_count_branch_does_not_look_into_padding():
    branch = CountBranch((3, 2))
    coarse, fine = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 8, 8)
    inside = torch.zeros(1, 1, 8, 8)
    inside[..., :4, :4] = 1
    other = fine.clone()
    other[..., 4:, :] = 99.0
    assert branch([coarse, fine], inside).equal(branch([coarse, other], inside))


def test_the_loss_is_the_error_of_velocities_and_of_counts_written_out():
    counter = tiny(noises=2, count_weight=0.1)
    sizes, cells = torch.tensor([[32, 16], [20, 12]]), [3, 1]
    points = [torch.rand(n, 2) * 12 for n in cells]
    said, counts = torch.randn(2, 1, 16, 16), torch.tensor([2.0, 0.5])
    seen = []

    def denoise(noisy, time, conditions):
        seen.append((noisy, time))
        return said, []

    counter.denoiser.forward = denoise
    counter.counter.forward = lambda maps, inside: counts
    images = Images(torch.zeros(2, 3, 32, 32), sizes, 1.0, ["a", "b"])
    torch.manual_seed(5)
    terms = counter.loss(Batch(images, points))
    torch.manual_seed(5)
    squares = []
    for noisy, time in seen:
        times, noise = torch.randint(1000, (2,)), torch.randn(2, 1, 16, 16)
        torch.testing.assert_close(time, times / 1000)
        for image, (width, height) in enumerate(sizes.tolist()):
            kept = math.prod(1 - (1e-4 + 0.0199 * t / 999) for t in range(int(times[image]) + 1))
            dots = (points[image] / 2).long().tolist()
            for y, x in np.ndindex(16, 16):
                squared = [(x - j) ** 2 + (y - i) ** 2 for j, i in dots]
                far = all(max(abs(x - j), abs(y - i)) > 2 for j, i in dots)
                clean = -1.0 if far else 2 * math.exp(-min(squared) / 0.5) - 1
                if 2 * x >= width or 2 * y >= height:
                    assert noisy[image, 0, y, x] == 0
                    continue
                grain = float(noise[image, 0, y, x])
                mixed = kept**0.5 * clean + (1 - kept) ** 0.5 * grain
                assert float(noisy[image, 0, y, x]) == pytest.approx(mixed, abs=1e-4)
                velocity = kept**0.5 * grain - (1 - kept) ** 0.5 * clean
                squares.append((float(said[image, 0, y, x]) - velocity) ** 2)
    per_square = [3 * 64**2 / (32 * 16), 64**2 / (20 * 12)]
    missed = np.mean([abs(w - c) for w, c in zip(per_square, counts.tolist(), strict=True)])
    assert float(terms["loss_denoise"]) == pytest.approx(np.mean(squares), rel=1e-4)
    assert float(terms["loss_count"]) == pytest.approx(0.1 * missed, rel=1e-5)


def test_sampling_never_reads_the_truth():
    counter = tiny()
    right = {name: np.array([[9.0, 9.0], [30.0, 20.0]], dtype=np.float32) for name in "abc"}
    wrong = {"a": no_points(), "b": np.full((200, 2), 5.0, dtype=np.float32), "c": right["a"][:1]}
    found = []
    for truth in (right, wrong):
        predictions, samples = infer(
            counter, WholeImages(Memory(truth), "abc"), precision="float32"
        )
        assert [sample.count for sample in samples] == [len(truth[name]) for name in "abc"]
        found.append([counter.select(prediction) for prediction in predictions])
    for one, other in zip(*found, strict=True):
        assert one.count == other.count
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_an_image_is_drawn_alike_whatever_was_drawn_before():
    counter = tiny().eval()
    arrays = [Memory({}).pixels(name) for name in "ab"]
    with torch.no_grad():
        images = counter.data_preprocessor.images(arrays, scale=1.0, image_ids=["a", "b"])
        together, _ = counter.draw(images)
        torch.manual_seed(5)
        alone, _ = counter.draw(
            counter.data_preprocessor.images(arrays[1:], scale=1.0, image_ids=["b"])
        )
    torch.testing.assert_close(alone[0], together[1], rtol=1e-4, atol=1e-5)
    assert not together[1, 0].equal(together[1, 1]), "each sample has a noise of its own"


def drawn(counter, *samples):
    """Predictions where these (H, W) maps are what the samples of one image are."""
    maps = torch.stack(samples)[None]
    inside = torch.ones(1, 1, *maps.shape[2:], dtype=torch.bool)
    counter.draw = lambda images: (maps, inside)
    height, width = maps.shape[2:]
    array = np.zeros((2 * height, 2 * width, 3), dtype=np.uint8)
    return counter.infer(counter.data_preprocessor.images([array], scale=1.0, image_ids=["a"]))[0]


def spots(*places, height=1.0):
    found = torch.zeros(8, 8)
    for row, column in places:
        found[row, column] = height
    return found


def test_the_count_is_the_median_and_the_points_are_what_most_samples_agree_on():
    counter = tiny(threshold=0.5)
    found = drawn(
        counter,
        spots((1, 1), (5, 5)),
        spots((1, 2), (5, 5), (7, 1)),  # the first cell, one map cell aside
        spots((1, 1), (5, 5), (1, 6), (4, 1)),
    )
    chosen = counter.select(found)
    assert chosen.count == 3
    assert len(chosen.points) == 3
    agreed = {tuple(point): float(s) for point, s in zip(found.points, found.scores, strict=True)}
    assert agreed[3.0, 3.0] == agreed[11.0, 11.0] == pytest.approx(1)
    assert agreed[13.0, 3.0] == agreed[3.0, 15.0] == pytest.approx(1 / 3)
    assert agreed[5.0, 3.0] < 0.02, "the same cell is no second point"
    assert {(3.0, 3.0), (11.0, 11.0)} < {tuple(point) for point in chosen.points}


def test_places_that_nothing_keeps_apart_still_give_as_many_points_as_are_counted():
    counter = tiny(threshold=0.5)
    row = spots((2, 0), (2, 2), (2, 4), (2, 6))
    found = counter.select(drawn(counter, row, spots((2, 1), (2, 3), (2, 5)), row))
    assert found.count == len(found.points) == 4


def test_the_threshold_is_the_one_of_least_error_on_validation():
    counter = tiny()
    samples = []
    for low in (0.35, 0.55):
        heights = [np.array([0.9, 0.8, 0.7, low], dtype=np.float32)] * 3
        points = np.array([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]], dtype=np.float32)
        scores = heights[0]
        samples.append(Fused(4.0, points, scores, heights=tuple(heights)))
    truth = [CellSample(str(k), samples[0].points[:3], (16, 16)) for k in range(2)]
    chosen = counter.calibrate(ValidationSet(samples, truth, 2.0))["threshold"]
    assert 0.55 < chosen <= 0.7
    assert float(counter.threshold) == pytest.approx(chosen)
    assert [counter.select(sample).count for sample in samples] == [3, 3]


def test_training_draws_from_the_seed_alone():
    counter = tiny().train()
    array = Memory({}).pixels("a")
    images = counter.data_preprocessor.images([array], scale=1.0, image_ids=["a"])
    batch = Batch(images, [torch.tensor([[9.0, 9.0]])])
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(counter.loss(batch)["loss_denoise"].detach()))
    assert losses[0] == losses[1] != losses[2]


def test_a_network_that_fits_no_padded_image_and_an_even_number_of_samples_are_refused():
    with pytest.raises(PartError, match="cannot be halved"):
        tiny(multipliers=(1, 1, 1, 1, 1, 1))
    with pytest.raises(PartError, match="samples is odd"):
        tiny(samples=2)
