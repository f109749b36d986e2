"""Every counter that comes with cellbench keeps the claims of `cellbench.testing`.

Runs over every file in configs/methods, and every decoder with every convolution.
"""

import pytest
import torch
from counter_cases import (
    ADAPTED,
    DECODER_CASES,
    METHODS,
    OUTSIDE,
    STEPPED,
    DecoderCase,
    built_in,
    case,
)

from cellbench.config.sources import config_folders, load_file
from cellbench.models.build import build_counter
from cellbench.registry import CONVS, COUNTERS, DECODERS
from cellbench.testing import counters
from cellbench.testing.counters import (
    COUNTING_CLAIMS,
    FIT_CLAIMS,
    STEP_CLAIMS,
    CounterSubject,
)


def named(claim):
    return claim.__name__


def tried(paths):
    """The configs as parameters; an author's recipe of a method that is tried anyway is slow."""
    return [
        pytest.param(
            path, id=path.stem, marks=[pytest.mark.slow] if path.stem.endswith("_published") else []
        )
        for path in paths
    ]


by_steps = pytest.mark.parametrize("subject", tried(STEPPED), indirect=True, scope="module")


@pytest.fixture(scope="module", params=tried(METHODS))
def subject(request):
    """A method with random weights, trained if it trains itself, built once for all claims."""
    made = CounterSubject.of(case(request.param))
    assert made.stepped == (request.param in STEPPED)
    return made


def test_every_registered_counter_has_a_config():
    configs = (config_folders()[-1] / "methods").glob("*.py")
    used = {load_file(path)["model"]["type"] for path in configs}
    assert used >= set(built_in(COUNTERS)) - {"DensityCounter"}  # a skeleton that methods extend


def test_what_is_adapted_or_outside_exists_and_has_a_reason():
    stems = {path.stem for path in (config_folders()[-1] / "methods").glob("*.py")}
    reasons = {stem: entry.why for stem, entry in ADAPTED.items()} | OUTSIDE
    assert set(reasons) <= stems
    assert all(len(why.split()) > 4 for why in reasons.values())


@pytest.mark.parametrize("claim", COUNTING_CLAIMS, ids=named)
def test_every_method_counts(subject, claim):
    claim(subject)


@pytest.mark.parametrize("claim", STEP_CLAIMS, ids=named)
@by_steps
def test_every_method_learns(subject, claim):
    claim(subject)


@pytest.mark.parametrize("claim", FIT_CLAIMS, ids=named)
@pytest.mark.parametrize(
    "subject",
    tried([path for path in METHODS if path not in STEPPED]),
    indirect=True,
    scope="module",
)
def test_every_method_that_trains_itself_does_so_again(subject, claim):
    claim(subject)


# Slow where a CPU emulates bfloat16; its types on a GPU are checked in test_cuda_types.py.
@pytest.mark.slow
@by_steps
def test_a_step_in_bfloat16_has_a_finite_loss_and_gradient(subject):
    counters.a_step_in_bfloat16_has_a_finite_loss_and_gradient(subject)


@pytest.mark.slow
def test_the_largest_images_are_counted_too(subject):
    counters.the_largest_images_are_counted_too(subject)


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
    made = DECODER_CASES.get(decoder, DecoderCase())
    model = {
        "type": "PointCounter",
        "backbone": {"type": "VGG16", "strides": list(made.strides), "weights": None},
        "decoder": {"type": decoder, **made.options},
        "head": {"type": "PointHead", "spacing_px": made.spacing_px, "channels": 16},
        "matcher": {"type": "Hungarian"},
        "loss": {"type": "PointLoss"},
    }
    if made.takes_conv:
        model["decoder"]["conv"] = {"type": conv}
    counters.check_gradients(build_counter(model), side=32)
