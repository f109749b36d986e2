"""Count-ception: its layers, and dots found again in exact maps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from written_out import convolved, leaves, normalised, unsettled

from cellbench.config.sources import config_folders, load_file
from cellbench.metrics.localisation import detect
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench.models.counter import ValidationSet
from cellbench.models.parts import DensityOutput
from cellbench.models.peaks import local_maxima
from cellbench.structures import CellSample
from cellbench_plugins.methods.countception import CountCeptionTrunk, MapL1, spots
from cellbench_plugins.targets.redundant import RedundantCount


def build(name="countception"):
    torch.manual_seed(0)
    return build_counter(load_file(config_folders()[-1] / "methods" / f"{name}.py")["model"])


def convolution(inside, outside, kernel):
    """Weights of a convolution without bias, and the two numbers a channel of its batch-norm."""
    return inside * outside * kernel**2 + 2 * outside


def simple(inside, narrow, wide):
    return convolution(inside, narrow, 1) + convolution(inside, wide, 3)


def test_its_parameters_are_those_of_the_published_layers():
    wanted = (
        convolution(3, 64, 3) + simple(64, 16, 16) + simple(32, 16, 32) + convolution(48, 16, 14)
        + simple(16, 112, 48) + simple(160, 64, 32) + simple(96, 40, 40) + simple(80, 32, 96)
        + convolution(128, 32, 18) + convolution(32, 64, 1) + convolution(64, 64, 1)
    )  # fmt: skip
    last = {"countception": 64 + 1, "countception_published": convolution(64, 1, 1)}
    for name, own in last.items():
        assert sum(p.numel() for p in build(name).parameters()) == wanted + own


def test_the_published_recipe_trains_with_norms_that_never_normalise():
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for name, alike in (("countception_published", True), ("countception", False)):
        counter = build(name).train()
        together = counter.network(pixels)[0]
        alone = torch.cat([counter.network(one)[0] for one in pixels.split(1)])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-6) is alike
        norms = [m for m in counter.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert all(not norm.running_mean.any() for norm in norms) is alike
        assert all(norm.weight.requires_grad for norm in norms)


def test_the_trunk_computes_what_its_layers_do_one_after_another():
    torch.manual_seed(0)
    trunk, x = unsettled(CountCeptionTrunk()), torch.rand(1, 3, 2, 4)
    (found,) = trunk(x)
    layers = iter(leaves(trunk))

    def single(x, **options):
        x = convolved(x, next(layers), **options)
        return F.leaky_relu(normalised(x, next(layers)), 0.01)

    def pair(x):
        return torch.cat([single(x), single(x)], dim=1)

    x = pair(pair(single(x, padding=32)))
    x = pair(pair(pair(pair(single(x, padding=0)))))
    expected = single(single(single(x, padding=0)))
    assert next(layers, None) is None
    assert found.shape == (1, 64, 2 + 32, 4 + 32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def exact_map(points, width, height):
    grid = (height + 32, width + 32)
    target = RedundantCount()
    made = target.make(
        [torch.from_numpy(points)], torch.tensor([[width, height]]), grid, stride=1, scale=1.0
    )
    return made / target.unit


def lattice(width, height, apart):
    """Dots in the middle of pixels, `apart` px from each other, the first ones in the corner."""
    x, y = np.meshgrid(np.arange(0, width, apart), np.arange(0, height, apart))
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32) + 0.5


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_dots_are_found_again_in_their_map_also_in_corners(noise):
    points = lattice(64, 43, 7)
    density = exact_map(points, 64, 43)
    generator = torch.Generator().manual_seed(0)
    density = density + noise / 1024 * torch.randn(density.shape, generator=generator)
    sharp = spots(density, window=32, sigma=1.5, noise=0.005)[0]
    assert sharp.shape == (1, 43, 64)
    peaks = local_maxima(sharp, size=5)[0] & (sharp[0] > 0.5 * sharp.max())
    found = peaks.nonzero().flip(1).numpy() + 0.5
    result = detect(found, points, 1.0)
    assert (result.fp, result.fn) == (0, 0)


def test_a_spot_is_nearly_a_gaussian_that_sums_to_one_dot():
    sharp = spots(exact_map(np.array([[40.5, 30.5]], dtype=np.float32), 80, 60), window=32,
                  sigma=1.5, noise=0.001)[0, 0]  # fmt: skip
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    wanted = torch.exp(-((x - 40) ** 2 + (y - 30) ** 2) / (2 * 1.5**2)) / (2 * torch.pi * 1.5**2)
    torch.testing.assert_close(sharp, wanted, rtol=0, atol=0.2 * float(wanted.max()))
    # the window is blind to some frequencies: the spot is lower than the Gaussian, not elsewhere
    assert divmod(int(sharp.argmax()), 80) == (30, 40)
    assert float(sharp.sum()) == pytest.approx(1.0, abs=0.01)


def test_an_exact_map_is_counted_and_located_exactly(monkeypatch):
    counter = build().eval()
    points = lattice(64, 43, 9)
    density = exact_map(points, 64, 43)
    monkeypatch.setattr(
        counter, "estimate", lambda images: DensityOutput(density, density, 1, 1024.0)
    )
    blank = np.zeros((43, 64, 3), dtype=np.uint8)
    images = counter.data_preprocessor.images([blank], scale=0.5, image_ids=["a"])
    candidates = counter.infer(images)
    truth = [CellSample("a", points / np.float32(0.5), (128, 86))]
    counter.calibrate(ValidationSet(candidates, truth, radius_px=2.0))
    found = counter.select(candidates[0])
    assert found.count == pytest.approx(len(points), rel=1e-5)
    assert found.density.shape == (43, 64)
    result = detect(found.points, points / 0.5, 2.0)
    assert (result.fp, result.fn) == (0, 0)


def test_the_map_reaches_32_px_beyond_the_image_and_padding_trains_nothing():
    counter = build()
    pixels = [np.zeros(shape, dtype=np.uint8) for shape in ((20, 24, 3), (33, 17, 3))]
    images = counter.data_preprocessor.images(pixels, scale=1.0, image_ids=["a", "b"])
    grid = tuple(side + 32 for side in images.pixels.shape[2:])
    assert counter.estimate(images).density.shape[2:] == grid
    valid = counter.valid(images, grid)
    assert valid.sum(dim=(1, 2, 3)).tolist() == [(20 + 32) * (24 + 32), (33 + 32) * (17 + 32)]


def test_the_loss_is_the_mean_error_of_the_counts_in_the_windows():
    counter = build()
    images = counter.data_preprocessor.images(
        [np.zeros((16, 16, 3), dtype=np.uint8)], scale=1.0, image_ids=["a"]
    )
    target = torch.full((1, 1, 48, 48), 3.0) / 1024
    valid = torch.ones(1, 1, 48, 48, dtype=torch.bool)
    valid[..., :10] = False
    output = DensityOutput(torch.full((1, 1, 48, 48), 1.0) / 1024, images.pixels, 1, 1024.0)
    batch = Batch(images, [torch.zeros(0, 2)])
    assert float(MapL1()(output, target, valid, batch)["loss_map"]) == pytest.approx(2.0)


def test_before_training_it_says_about_the_prior():
    counter = build()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    images = counter.data_preprocessor.images([noise], scale=1.0, image_ids=["a"])
    with torch.no_grad():
        mean = float(counter.estimate(images).density.mean())
    assert mean == pytest.approx(2e-3, rel=0.3)
