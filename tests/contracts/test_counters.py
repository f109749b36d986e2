"""What every counter owes: every parameter learns, any image is counted, nothing is left to luck.

Runs over every file in configs/methods, and every decoder with every convolution.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from cellbench.config import config_folders, load_file
from cellbench.models.build import build_counter
from cellbench.models.counter import Batch
from cellbench.plugin_index import entries
from cellbench.registry import CONVS, COUNTERS, DECODERS

METHODS = sorted((config_folders()[-1] / "methods").glob("*.py"))

# A gradient that is zero in exact arithmetic is rounding noise in float32: far below the rest.
NOISE = 1e-7


def built_in(registry):
    """The parts of this distribution; those of plugins that happen to be installed are theirs."""
    return [e.name for e in entries() if e.role == registry.role and e.distribution == "cellbench"]


@pytest.fixture(scope="module", params=METHODS, ids=lambda path: path.stem)
def counter(request: pytest.FixtureRequest):
    """A method with random weights, built once for all claims."""
    torch.manual_seed(0)
    return build_counter(load_file(request.param)["model"], load_weights=False)


def picture(width, height, seed=0, cells=None):
    """A noisy picture with dark spots, and where they are: about as dense as ADI."""
    rng = np.random.default_rng(seed)
    number = width * height // 145 if cells is None else cells
    points = (rng.random((number, 2)) * [width, height]).astype(np.float32)
    pixels = rng.integers(150, 255, (height, width, 3), dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] //= 3
    return pixels, points


def images_of(counter, arrays, scale=1.0):
    names = [str(index) for index in range(len(arrays))]
    return counter.data_preprocessor.images(arrays, scale=scale, image_ids=names)


def batch_of(counter, *pictures):
    points = [torch.from_numpy(points) for _, points in pictures]
    return Batch(images_of(counter, [pixels for pixels, _ in pictures]), points)


def total(terms):
    return sum(term for name, term in terms.items() if name.startswith("loss"))


def check_gradients(counter, side=64):
    """Each trainable parameter learns, and what is listed as untrained does not."""
    counter.train().zero_grad(set_to_none=True)
    batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
    total(counter.loss(batch)).backward()
    largest = {
        name: float(parameter.grad.abs().max()) if parameter.grad is not None else 0.0
        for name, parameter in counter.named_parameters()
    }
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
    used = {load_file(path)["model"]["type"] for path in METHODS}
    assert used >= set(built_in(COUNTERS))


def test_every_parameter_learns_or_is_listed_with_a_reason(counter):
    check_gradients(counter)


@pytest.mark.parametrize("conv", built_in(CONVS))
@pytest.mark.parametrize("decoder", built_in(DECODERS))
def test_every_parameter_of_every_decoder_with_every_convolution_learns(decoder, conv):
    torch.manual_seed(0)
    model = {
        "type": "PointCounter",
        "backbone": {"type": "VGG16", "strides": [2, 4], "weights": None},
        "decoder": {"type": decoder, "stride": 2, "channels": 32, "conv": {"type": conv}},
        "head": {"type": "PointHead", "spacing_px": 2, "channels": 16},
        "matcher": {"type": "Hungarian"},
        "loss": {"type": "PointLoss"},
    }
    check_gradients(build_counter(model), side=32)


def test_an_image_without_cells_has_a_finite_loss_and_gradient(counter):
    counter.train().zero_grad(set_to_none=True)
    loss = total(
        counter.loss(batch_of(counter, picture(64, 64, cells=0), picture(64, 64, cells=0)))
    )
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in counter.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_more_cells_than_proposals_have_a_finite_loss(counter):
    crowd = picture(64, 64, cells=600)
    assert torch.isfinite(total(counter.train().loss(batch_of(counter, crowd, crowd))))


@pytest.mark.parametrize(
    ("size", "scale"),
    [((64, 64), 1.0), ((800, 64), 1.0), ((150, 150), 0.5), ((133, 97), 2.0), ((17, 5), 1.0)],
)
def test_an_image_of_any_size_gets_points_inside_it(counter, size, scale):
    pixels, _ = picture(*size)
    (found,) = counter.eval().infer(images_of(counter, [pixels], scale))
    assert found.count == len(found.points) == len(found.scores)
    assert found.points.dtype == found.scores.dtype == np.float32
    width, height = size
    assert (found.points >= 0).all()
    assert (found.points < [width / scale, height / scale]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_an_image_is_counted_alike_alone_and_in_a_batch(counter):
    arrays = [picture(96, 64, seed)[0] for seed in range(2)]
    together = counter.eval().infer(images_of(counter, arrays))
    for array, expected in zip(arrays, together, strict=True):
        (alone,) = counter.infer(images_of(counter, [array]))
        assert alone.count == expected.count
        np.testing.assert_allclose(alone.points, expected.points, atol=2e-3)
        np.testing.assert_allclose(alone.scores, expected.scores, atol=1e-4)


def test_two_looks_at_an_image_give_the_same_candidates_in_the_same_order(counter):
    images = images_of(counter.eval(), [picture(96, 64)[0]])
    (first,), (second,) = counter.infer(images), counter.infer(images)
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_counting_leaves_no_trace(counter):
    before = {name: value.clone() for name, value in counter.state_dict().items()}
    counter.eval().predict(images_of(counter, [picture(64, 64)[0]]))
    assert all(value.equal(before[name]) for name, value in counter.state_dict().items())


def test_a_saved_counter_counts_as_before(counter, request: pytest.FixtureRequest):
    path: Path = request.node.callspec.params["counter"]
    counter.eval().threshold.fill_(0.123)
    state = {name: value.contiguous() for name, value in counter.state_dict().items()}
    other = build_counter(load_file(path)["model"], load_weights=False).eval()
    other.load_state_dict(load(save(state)))
    arrays = [picture(64, 96)[0]]
    (expected,) = counter.predict(images_of(counter, arrays))
    (found,) = other.predict(images_of(other, arrays))
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_what_is_trained_is_in_one_parameter_group(counter):
    groups = counter.parameter_groups(lr=1.0, trunk_lr=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in counter.parameters() if p.requires_grad)
