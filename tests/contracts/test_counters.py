"""What every counter owes: every parameter learns, any image is counted, nothing is left to luck.

Runs over every file in configs/methods, every decoder with every convolution, and every target.
"""

import contextlib
import math

import numpy as np
import pytest
import torch
from agreement import assert_same_candidates
from counter_cases import (
    ADAPTED,
    DECODER_CASES,
    METHODS,
    OUTSIDE,
    STEPPED,
    DecoderCase,
    adapted,
    batch_of,
    build,
    built_in,
    images_of,
    picture,
    total,
    training_data,
)
from safetensors.torch import load, save

from cellbench.config.compose import config_folders, load_file
from cellbench.engine.devices import autocast
from cellbench.engine.stages import Span, StageSwitch
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter
from cellbench.models.folding import fold_batch_norms
from cellbench.registry import CONVS, COUNTERS, DECODERS, TARGETS

# A gradient that is zero in exact arithmetic is rounding noise in float32: far below the rest.
NOISE = 1e-7


# Targets that answer on a larger grid than the image: px beyond it on each side.
TARGET_MARGINS: dict[str, int] = {
    "RedundantCount": 16,  # its windows of 32 px reach so far beyond the image
}


by_steps = pytest.mark.parametrize(
    "counter", STEPPED, ids=lambda path: path.stem, indirect=True, scope="module"
)


@pytest.fixture(scope="module", params=METHODS, ids=lambda path: path.stem)
def counter(request: pytest.FixtureRequest):
    """A method with random weights, trained if it trains itself, built once for all claims."""
    torch.manual_seed(0)
    made = build(request.param)
    made.path = request.param
    if type(made).fit is not CellCounter.fit:
        trained = made.fit(*training_data(adapted(request.param).side))
        assert trained == (request.param not in STEPPED)
    return made


def largest_gradients(counter, batch, stage):
    """The largest gradient of each parameter in one step of a stage."""
    counter.train().zero_grad(set_to_none=True)
    switch = StageSwitch(counter)
    with contextlib.ExitStack() as after:
        for _, parameter in switch.learning:
            after.callback(parameter.requires_grad_)
        switch.enter(stage)
        switch.begin(Span(stage, 0, 2), 1)
        total(counter.loss(batch)).backward()
    return {
        name: float(parameter.grad.abs().max())
        for name, parameter in counter.named_parameters()
        if parameter.grad is not None
    }


def check_gradients(counter, side=64):
    """Each trainable parameter learns in a stage, and what is listed as untrained in none."""
    batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
    largest = {name: 0.0 for name, _ in counter.named_parameters()}
    for stage in counter.stages:
        found = largest_gradients(counter, batch, stage)
        strangers = [name for name in found if found[name] and not name.startswith(stage.trained)]
        assert strangers == []
        largest |= {name: max(value, largest[name]) for name, value in found.items()}
    listed = tuple(counter.untrained)
    dead = [
        name
        for name, gradient in largest.items()
        if not name.startswith(listed) and not NOISE < gradient < float("inf")
    ]
    assert dead == []
    moved = [name for name in largest if name.startswith(listed) and largest[name] > 0]
    assert moved == []
    for prefix, reason in counter.untrained.items():
        assert any(name.startswith(prefix) for name in largest), f"{prefix} is no parameter"
        assert len(reason.split()) > 2


def test_every_registered_counter_has_a_config():
    configs = (config_folders()[-1] / "methods").glob("*.py")
    used = {load_file(path)["model"]["type"] for path in configs}
    assert used >= set(built_in(COUNTERS)) - {"DensityCounter"}  # a skeleton that methods extend


def test_what_is_adapted_or_outside_exists_and_has_a_reason():
    stems = {path.stem for path in (config_folders()[-1] / "methods").glob("*.py")}
    reasons = {stem: entry.why for stem, entry in ADAPTED.items()} | OUTSIDE
    assert set(reasons) <= stems
    assert all(len(why.split()) > 4 for why in reasons.values())


@by_steps
def test_every_parameter_learns_or_is_listed_with_a_reason(counter):
    check_gradients(counter, adapted(counter.path).side)


@pytest.mark.parametrize(
    ("decoder", "conv"),
    [
        (decoder, conv)
        for decoder in built_in(DECODERS)
        for conv in built_in(CONVS)
        if conv == "Standard" or DECODER_CASES.get(decoder, DecoderCase()).takes_conv
    ],
)
def test_every_parameter_of_every_decoder_with_every_convolution_learns(decoder, conv):
    torch.manual_seed(0)
    case = DECODER_CASES.get(decoder, DecoderCase())
    model = {
        "type": "PointCounter",
        "backbone": {"type": "VGG16", "strides": list(case.strides), "weights": None},
        "decoder": {"type": decoder, **case.options},
        "head": {"type": "PointHead", "spacing_px": case.spacing_px, "channels": 16},
        "matcher": {"type": "Hungarian"},
        "loss": {"type": "PointLoss"},
    }
    if case.takes_conv:
        model["decoder"]["conv"] = {"type": conv}
    check_gradients(build_counter(model), side=32)


@by_steps
def test_images_without_cells_have_a_finite_loss_and_gradient(counter):
    side = adapted(counter.path).side
    empty = batch_of(counter, picture(side, side, cells=0), picture(side, side, cells=0))
    for stage in counter.stages:
        gradients = largest_gradients(counter, empty, stage)
        assert gradients
        assert all(math.isfinite(gradient) for gradient in gradients.values())


@by_steps
def test_more_cells_than_places_have_a_finite_loss(counter):
    crowd = picture(64, 64, cells=600)
    assert torch.isfinite(total(counter.train().loss(batch_of(counter, crowd, crowd))))


# Slow where a CPU emulates bfloat16; its types on a GPU are checked in test_cuda_types.py.
@pytest.mark.slow
@by_steps
def test_a_step_in_bfloat16_has_a_finite_loss_and_gradient(counter):
    side = adapted(counter.path).side
    batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
    for stage in counter.stages:
        with autocast(counter.device, "bfloat16"):
            gradients = largest_gradients(counter, batch, stage)
        assert gradients
        assert all(math.isfinite(gradient) for gradient in gradients.values())


def check_prediction(found, size, scale):
    """The count is finite, at least 0 and what is shown; the points lie in the image."""
    assert math.isfinite(found.count)
    assert found.count >= 0
    if found.density is not None:
        assert found.density.ndim == 2
        assert found.density.dtype == np.float32
        assert found.density.sum(dtype=np.float64) == pytest.approx(found.count, rel=1e-4, abs=1e-4)
    if found.points is None:
        return
    if found.density is None:
        assert found.count == len(found.points)
    assert len(found.points) == len(found.scores)
    assert found.points.dtype == found.scores.dtype == np.float32
    width, height = size
    assert (found.points >= 0).all()
    assert (found.points < [width / scale, height / scale]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


@pytest.mark.parametrize(
    ("size", "scale"),
    [((64, 64), 1.0), ((800, 64), 1.0), ((99, 90), 0.5), ((125, 97), 2.0), ((17, 5), 1.0)],
)
def test_an_image_of_any_size_is_counted_with_points_inside_it(counter, size, scale):
    pixels, _ = picture(*size)
    (found,) = counter.eval().infer(images_of(counter, [pixels], scale))
    check_prediction(found, size, scale)
    check_prediction(counter.select(found), size, scale)


def test_an_image_is_counted_in_bfloat16_too(counter):
    pixels, _ = picture(96, 64)
    counter.eval()
    with torch.inference_mode(), autocast(counter.device, "bfloat16"):
        (found,) = counter.infer(images_of(counter, [pixels]))
    check_prediction(found, (96, 64), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(798, 788)])  # DCC's largest; it is padded to 800 x 800
def test_the_largest_images_are_counted_too(counter, size):
    (found,) = counter.eval().infer(images_of(counter, [picture(*size)[0]]))
    check_prediction(found, size, 1.0)


def test_an_image_is_counted_alike_alone_and_in_a_batch(counter):
    arrays = [picture(96, 64, seed)[0] for seed in range(2)]
    together = counter.eval().infer(images_of(counter, arrays))
    assert len(together) == 2
    for name, (array, expected) in enumerate(zip(arrays, together, strict=True)):
        # by its own name: a method that samples draws an image's noise from it
        (alone,) = counter.infer(images_of(counter, [array], names=[str(name)]))
        check_alike(counter, alone, expected)


def check_alike(counter, found, expected):
    """Two predictions of one image are the same up to rounding."""
    if expected.density is not None:
        atol = 1e-4 * max(float(np.abs(expected.density).max()), 1e-3)
        np.testing.assert_allclose(found.density, expected.density, rtol=1e-4, atol=atol)
    if expected.points is None or expected.density is not None:
        assert found.count == pytest.approx(expected.count, rel=1e-4, abs=1e-4)
    else:
        assert found.count == len(found.points)
        # of two that overlap, or are near, the better stays: one of some hundred such
        # choices may be between scores, or at a limit, that are equal up to rounding
        ties = 2 if len(expected.points) > 100 else 0
        floor = getattr(counter, "score_floor", None)
        assert_same_candidates(found, expected, floor=floor, ties=ties)


def test_an_image_is_counted_alike_with_and_without_its_norms_folded(counter):
    images = images_of(counter.eval(), [picture(96, 64)[0]])
    (expected,) = counter.infer(images)
    (found,) = fold_batch_norms(counter).infer(images)
    check_alike(counter, found, expected)


def check_equal(first, second):
    assert first.count == second.count
    for name in ("points", "scores", "density"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_two_looks_at_an_image_give_the_same_candidates_in_the_same_order(counter):
    images = images_of(counter.eval(), [picture(96, 64)[0]])
    (first,), (second,) = counter.infer(images), counter.infer(images)
    check_equal(first, second)


def test_counting_leaves_no_trace(counter):
    before = {name: value.clone() for name, value in counter.state_dict().items()}
    counter.eval().predict(images_of(counter, [picture(64, 64)[0]]))
    assert all(value.equal(before[name]) for name, value in counter.state_dict().items())


def test_a_saved_counter_counts_as_before(counter):
    counter.eval()
    if hasattr(counter, "threshold"):
        counter.threshold.fill_(0.123)
    state = {name: value.contiguous() for name, value in counter.state_dict().items()}
    other = build(counter.path).eval()
    other.load_state_dict(load(save(state)))
    arrays = [picture(64, 96)[0]]
    (expected,) = counter.predict(images_of(counter, arrays))
    (found,) = other.predict(images_of(other, arrays))
    check_equal(found, expected)


@by_steps
def test_what_is_trained_is_in_one_parameter_group(counter):
    groups = counter.parameter_groups(lr=1.0, trunk_lr=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in counter.parameters() if p.requires_grad)


def target_maps(name, points, stride, size=64, scale=1.0):
    """The (B, rows, columns) maps of a target for square images, and what one cell sums to."""
    target = TARGETS.build({"type": name})
    cells = (size + 2 * TARGET_MARGINS.get(name, 0)) // stride
    sizes = torch.tensor([[size, size]]).expand(len(points), 2)
    maps = target.make(points, sizes, (cells, cells), stride=stride, scale=scale)
    assert maps.dtype == torch.float32
    assert maps.shape == (len(points), 1, cells, cells)
    return maps.squeeze(1), target.unit


def dots(seed, number=40, size=64):
    """Dots in the middle of pixels, as annotations are: mirroring them is exact."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, size, (number, 2)).astype(np.float32) + 0.5)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("name", built_in(TARGETS))
def test_a_target_flips_and_turns_with_its_points(name, stride):
    points = dots(0)
    flipped = torch.stack([64 - points[:, 0], points[:, 1]], dim=1)
    (plain, mirrored, turned), _ = target_maps(name, [points, flipped, points.flip(1)], stride)
    torch.testing.assert_close(mirrored, plain.flip(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(turned, plain.mT, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("name", built_in(TARGETS))
def test_a_target_sums_to_its_points_at_borders_corners_and_in_one_pixel(name, stride):
    corners = torch.tensor([[0.0, 0.0], [63.99, 63.99], [0.5, 63.5], [30.0, 0.1], [63.9, 31.0]])
    shared = torch.tensor([[20.5, 20.5], [20.5, 20.5], [20.5, 20.5]])
    alone, nothing = torch.tensor([[40.2, 9.7]]), torch.zeros(0, 2)
    points = [corners, shared, alone, nothing, dots(1, number=200)]
    maps, unit = target_maps(name, points, stride, scale=0.75)
    sums = maps.sum(dim=(1, 2), dtype=torch.float64) / unit
    wanted = torch.tensor([len(own) for own in points], dtype=torch.float64)
    torch.testing.assert_close(sums, wanted, rtol=0, atol=1e-4)
