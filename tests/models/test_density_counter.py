"""The skeleton of density methods, with small parts whose answers are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.counter import ValidationSet
from cellbench.models.density_counter import DensityCounter, tile_evenly
from cellbench.models.parts import Backbone, Decoder, DensityLoss, FeatureShape
from cellbench.models.readout import DensityReadout
from cellbench.structures import CellSample, Prediction
from cellbench_plugins.losses.density import DensityMSE
from cellbench_plugins.targets.gaussian import GaussianDensity


class Channel(Backbone):
    """The first channel of the images, seen at a stride: the map is what the test says."""

    def __init__(self, stride=1):
        super().__init__()
        self.stride = stride
        self.shift = nn.Parameter(torch.zeros(1))
        self.shapes = (FeatureShape(1, stride),)

    def forward(self, images):
        return [images[:, :1, :: self.stride, :: self.stride] + self.shift]


class AsItIs(Decoder):
    """Says that its one channel is the map."""

    ends_in_map = True

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, features):
        return features[0]


class Seen(DensityLoss):
    """Remembers what it is given."""

    def forward(self, output, target, valid, batch):
        self.output, self.target, self.valid, self.batch = output, target, valid, batch
        return {"loss": output.density.sum()}


class Thousandfold(GaussianDensity):
    unit = 1000.0

    def make(self, *args, **options):
        return 1000 * super().make(*args, **options)


def counter_of(stride=1, *, scale=1.0, target=None, loss=None, **options):
    backbone = Channel(stride)
    target = GaussianDensity(sigma=1.5) if target is None else target
    shape = backbone.shapes[0]
    return DensityCounter(
        backbone=backbone,
        decoder=AsItIs(shape),
        target=target,
        loss=DensityMSE() if loss is None else loss,
        output=DensityReadout(shape, scale=scale, ends_in_map=True, unit=target.unit),
        size_multiple=8,
        **options,
    ).eval()


def showing(maps, sizes=None, *, scale=1.0, stride=1):
    """Images whose first channel shows (B, h, w) maps at a stride."""
    maps = torch.as_tensor(maps, dtype=torch.float32)
    pixels = maps.repeat_interleave(stride, 1).repeat_interleave(stride, 2)[:, None]
    if sizes is None:
        sizes = [[pixels.shape[3], pixels.shape[2]]] * len(maps)
    names = [str(index) for index in range(len(maps))]
    return Images(pixels.repeat(1, 3, 1, 1), torch.tensor(sizes), scale, names)


def spread(points, size, *, stride=1, sigma=1.5, scale=1.0):
    """The map of a network that is always right."""
    grid = (size[1] // stride, size[0] // stride)
    points = [torch.tensor(points, dtype=torch.float32)]
    return GaussianDensity(sigma=sigma).make(
        points, torch.tensor([size]), grid, stride=stride, scale=scale
    )[:, 0]


def test_the_count_is_the_sum_of_the_map_in_the_image_and_not_of_padding():
    maps = torch.full((2, 16, 24), 0.25)
    maps[0, 10:], maps[0, :, 20:] = float("nan"), 7.0
    first, second = counter_of().infer(showing(maps, [[20, 10], [24, 16]]))
    assert first.count == pytest.approx(50.0)
    assert first.density.shape == (10, 20)
    assert second.count == pytest.approx(96.0)
    assert second.density.shape == (16, 24)


def test_a_cell_of_the_map_that_the_border_cuts_counts_whole():
    (found,) = counter_of(4).infer(showing(torch.ones(1, 4, 6), [[17, 14]], stride=4))
    assert found.count == pytest.approx(20.0)  # 5 of 6 columns, 4 rows
    assert found.density.shape == (4, 5)


def test_less_than_nothing_is_no_cell():
    (found,) = counter_of().infer(showing(-torch.rand(1, 16, 16)))
    assert found.count == 0
    assert (found.density == 0).all()
    assert len(found.points) == 0


def test_what_is_no_number_stays_none():
    (found,) = counter_of().infer(showing(torch.full((1, 8, 8), float("nan"))))
    assert math.isnan(found.count)


@pytest.mark.parametrize(("stride", "scale"), [(1, 1.0), (2, 1.0), (4, 1.0), (2, 0.5), (4, 2.0)])
def test_a_perfect_map_gives_every_point_back_to_a_fraction_of_a_cell(stride, scale):
    # apart by more than what the window and the widths of the Gaussians blur together
    step = 48 if scale < 1 else 24
    truth = [(x + 3.3, y + 5.8) for x in range(8, 90, step) for y in range(8, 90, step)]
    cells = np.array(truth) * scale
    side = int(104 * scale)
    maps = spread(cells.tolist(), (side, side), stride=stride, sigma=3.0, scale=scale)
    (found,) = counter_of(stride).infer(showing(maps, scale=scale, stride=stride))
    assert len(found.points) == len(truth)
    assert found.count == pytest.approx(len(truth), abs=1e-3)
    away = np.linalg.norm(found.points[:, None] - np.array(truth)[None], axis=2)
    assert away.min(axis=0).max() < 0.35 * stride / scale
    assert sorted(away.argmin(axis=0)) == list(range(len(truth)))


def test_the_threshold_finds_the_cells_among_bumps_and_leaves_count_and_map_alone():
    cells, bumps = [(10.0, 10.0), (40.0, 20.0), (25.0, 50.0)], [(50.0, 50.0), (12.0, 40.0)]
    maps = spread(cells, (64, 64)) + 0.3 * spread(bumps, (64, 64))
    counter = counter_of()
    candidates = counter.infer(showing(maps))
    truth = [CellSample("0", np.array(cells, dtype=np.float32), (64, 64))]
    assert len(candidates[0].points) == 5
    chosen = counter.calibrate(ValidationSet(candidates, truth, 4.0))
    assert chosen == {"threshold": float(counter.threshold)}
    found = counter.select(candidates[0])
    assert sorted(found.points.round().tolist()) == sorted([list(cell) for cell in cells])
    assert found.count == candidates[0].count == pytest.approx(3.6, abs=1e-3)
    assert found.density is candidates[0].density


def test_of_two_maxima_within_the_window_the_higher_is_a_point():
    maps = torch.zeros(1, 32, 32)
    maps[0, 10, 10], maps[0, 10, 13] = 0.9, 1.0
    assert len(counter_of(peak_px=2.0).infer(showing(maps))[0].points) == 2
    (found,) = counter_of(peak_px=3.0).infer(showing(maps))
    np.testing.assert_allclose(found.points, [[13.5, 10.5]], atol=1e-6)


def test_a_peak_at_the_border_is_reported_inside():
    maps = torch.zeros(1, 8, 8)
    maps[0, 7, 7] = 1.0
    (found,) = counter_of().infer(showing(maps, [[8, 8]]))
    assert (found.points < 8).all()


def test_the_loss_is_told_cells_the_scale_and_where_padding_is():
    seen = Seen()
    counter = counter_of(2, scale=50.0, target=Thousandfold(sigma=1.0), loss=seen)
    images = showing(torch.zeros(2, 8, 8), [[16, 16], [9, 6]], stride=2)
    points = [torch.tensor([[3.0, 3.0], [15.0, 1.0]]), torch.zeros(0, 2)]
    batch = Batch(images, points)
    counter.loss(batch)
    assert seen.output.scale == 50_000.0
    assert seen.output.stride == 2
    torch.testing.assert_close(seen.target.sum(dim=(1, 2, 3)), torch.tensor([2.0, 0.0]))
    assert seen.valid[0].all()
    assert seen.valid[1, 0].nonzero().max(dim=0).values.tolist() == [2, 4]
    assert seen.valid[1].sum() == 3 * 5
    assert seen.batch is batch


def test_a_map_that_is_right_loses_nothing_whatever_scale_and_unit():
    counter = counter_of(4, scale=100.0, target=Thousandfold(sigma=2.0))
    points = [[5.0, 9.0], [20.0, 30.0]]
    maps = 100_000.0 * spread(points, (32, 32), stride=4, sigma=2.0)
    batch = Batch(showing(maps, stride=4), [torch.tensor(points)])
    assert float(counter.loss(batch)["loss_density"].detach()) < 1e-3
    assert counter.infer(batch.images)[0].count == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("activation", ["none", "relu", "softplus", "abs"])
@pytest.mark.parametrize("stride", [1, 8])
def test_before_training_the_map_says_the_prior_and_is_alive(activation, stride):
    torch.manual_seed(0)
    readout = DensityReadout(
        FeatureShape(64, stride), activation=activation, scale=100.0, prior=0.003
    )
    features = torch.randn(2, 64, 16, 16)
    density = readout(features)
    expected = 0.003 * stride**2
    assert float(density.mean().detach()) == pytest.approx(expected, rel=0.1)
    assert (density > 0).all()
    density.sum().backward()
    assert (readout.conv.weight.grad != 0).all()


def test_a_map_is_tiled_evenly_without_loss():
    rng = np.random.default_rng(0)
    density = rng.random((38, 19)).astype(np.float32)
    found = tile_evenly(density, (75, 150), 4)
    assert found.shape == density.shape
    assert found.sum(dtype=np.float64) == pytest.approx(density.sum(dtype=np.float64), rel=1e-6)
    # against fine cells of 0.05 px, summed over each new one
    columns = np.minimum(np.arange(1500) * 0.05, 74.999)
    old = density.sum(axis=0)[(columns // 4).astype(int)]
    widths = np.where(columns // 4 == 18, 3.0, 4.0)
    new = np.bincount((columns / (75 / 19)).astype(int), old / widths * 0.05, minlength=19)
    np.testing.assert_allclose(found.sum(axis=0), new, rtol=0.02)


def test_a_map_whose_stride_divides_the_image_stays_as_it_is():
    density = np.ones((4, 6), dtype=np.float32)
    assert tile_evenly(density, (24, 16), 4) is density


def test_candidates_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="points and scores"):
        counter_of().select(Prediction(count=1.0))


def configured(**changes):
    model = {
        "type": "DensityCounter",
        "backbone": {"type": "VGG16", "strides": [4], "weights": None},
        "target": {"type": "GaussianDensity"},
        "loss": {"type": "DensityMSE"},
    }
    return build_counter(model | changes)


def test_from_a_config_the_finest_map_is_read_without_a_decoder():
    counter = configured(output={"scale": 10.0, "activation": "softplus"}, peak_px=3.0)
    assert counter.decoder is None
    assert counter.readout.scale == 10.0
    assert counter.readout.stride == 4
    assert counter.peak_px == 3.0


def test_another_backbone_decoder_and_convolution_fit():
    counter = configured(
        backbone={"type": "VGG16", "strides": [2, 4, 8], "weights": None},
        decoder={"type": "FPN", "stride": 2, "channels": 16, "conv": {"type": "Standard"}},
    )
    images = showing(torch.rand(1, 32, 32))
    assert counter.eval().infer(images)[0].density.shape == (16, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": {"scales": 1.0}}, r"model\.output\.scales.*did you mean 'scale'"),
        ({"output": {"scale": 0.0}}, r"model\.output: scale and prior are more than 0"),
        ({"output": {"activation": "tanh"}}, r"model\.output\.activation"),
        ({"decoder": {"type": "Identity", "stride": 2}}, r"model\.decoder: stride"),
        (
            {"decoder": {"type": "Identity", "conv": {"type": "MDGC"}}},
            r"model\.decoder\.conv: Identity has no convolution to swap",
        ),
        ({"target": {"type": "GaussianDensity", "sigma": -1.0}}, r"model\.target: sigma"),
        ({"size_multiple": 6}, r"size_multiple"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(changes, message):
    with pytest.raises(PartError, match=message):
        configured(**changes)


def test_a_map_of_several_channels_is_refused():
    with pytest.raises(PartError, match="one channel"):
        DensityReadout(FeatureShape(2, 1), ends_in_map=True)


def test_what_a_config_cannot_give_is_not_asked_for():
    wanted = r"model.output: DensityCounter wants a dict or None here, not 5"
    with pytest.raises(PartError, match=wanted):
        configured(output=5)
