"""A GPU computes what a CPU does: every method's step and counting, in float32."""

import numpy as np
import pytest
import torch
from counter_cases import METHODS, STEPPED, adapted, build

from cellbench.testing.agreement import assert_same_candidates
from cellbench.testing.counters import backward_step
from cellbench.testing.samples import batch_of, images_of, picture

CPU = torch.device("cpu")
# Relative L2 distance of all gradients of a step. Sums of some 1e5 products in another order
# differ by about 1e-5, and batch-norms divide by deviations of few numbers; a wrong operator,
# layout or pairing shows as 0.1 and more.
GRADIENTS = 1e-2
LOSS = 1e-3
# px and score; a network of some 30 layers, not a last bit.
POINTS_PX, SCORES = 2e-2, 2e-3


@pytest.fixture
def drawn_on_the_cpu(monkeypatch):
    """Random numbers come from the CPU's generator: a GPU's draws others from the same seed."""

    def made(draw):
        def moved(*arguments, device=None, **options):
            drawn = draw(*arguments, **options)
            return drawn if device is None else drawn.to(device)

        return moved

    def chosen(draw):
        def moved(given, *arguments, **options):
            return draw(given.cpu(), *arguments, **options).to(given.device)

        return moved

    for name in ("rand", "randn", "randint", "randperm"):
        monkeypatch.setattr(torch, name, made(getattr(torch, name)))
    for name in ("multinomial", "rand_like", "randn_like"):
        monkeypatch.setattr(torch, name, chosen(getattr(torch, name)))


def started(path, device):
    """A method with the same weights on any device, and without dropout."""
    torch.manual_seed(0)
    counter = build(path)
    for module in counter.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if hasattr(module, "pair_dropout"):
            module.pair_dropout = 0.0
    return counter.to(device)


def step(counter, stage, side):
    """Loss and gradients of one step of a stage, on the CPU."""
    batch = batch_of(counter, picture(side, side, 1), picture(side, side, 2))
    torch.manual_seed(1)
    loss = backward_step(counter, batch, stage)
    gradients = {n: p.grad.cpu() for n, p in counter.named_parameters() if p.grad is not None}
    return float(loss), gradients


def distance(found, expected):
    """|found - expected| / |expected| over all numbers of several tensors."""
    apart = sum(float((found[n].double() - e.double()).square().sum()) for n, e in expected.items())
    size = sum(float(e.double().square().sum()) for e in expected.values())
    return (apart / size) ** 0.5 if size else apart


@pytest.mark.usefixtures("full_float32", "drawn_on_the_cpu")
@pytest.mark.parametrize("path", STEPPED, ids=lambda path: path.stem)
def test_a_step_has_the_loss_and_the_gradients_that_it_has_on_a_cpu(path, device):
    side = adapted(path).side
    here, there = started(path, CPU), started(path, device)
    for stage in here.stages:
        loss, gradients = step(there, stage, side)
        expected_loss, expected = step(here, stage, side)
        assert loss == pytest.approx(expected_loss, rel=LOSS, abs=1e-6)
        assert gradients.keys() == expected.keys()
        assert distance(gradients, expected) < GRADIENTS


@pytest.mark.usefixtures("full_float32", "drawn_on_the_cpu")
@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_an_image_is_counted_as_on_a_cpu(path, device):
    here, there = started(path, CPU).eval(), started(path, device).eval()
    pixels, _ = picture(96, 64)
    with torch.inference_mode():
        [expected] = here.infer(images_of(here, [pixels]))
        [found] = there.infer(images_of(there, [pixels]))
    if expected.density is not None:
        atol = 1e-3 * max(float(np.abs(expected.density).max()), 1e-3)
        np.testing.assert_allclose(found.density, expected.density, rtol=1e-3, atol=atol)
    if expected.points is None or expected.density is not None:
        assert found.count == pytest.approx(expected.count, rel=1e-3, abs=1e-3)
        return
    # a group of near candidates has one best, of which two may be equal up to rounding
    ties = max(2, len(expected.points) // 50)
    assert_same_candidates(
        found,
        expected,
        floor=getattr(here, "score_floor", None),
        ties=ties,
        points_px=POINTS_PX,
        scores=SCORES,
    )
