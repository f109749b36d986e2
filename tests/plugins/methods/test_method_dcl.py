"""DCL: two networks that are trained one after the other, and agree on the count."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cellbench.config.compose import merge
from cellbench.config.sources import config_folders, load_file
from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench.models.parts import FeatureShape
from cellbench_plugins.methods.dcl import GlobalMessages

MODEL = load_file(config_folders()[-1] / "methods" / "dcl.py")["model"]


@pytest.fixture(scope="module")
def counter():
    torch.manual_seed(0)
    return build_counter(MODEL, load_weights=False)


def batch(counter, width=64, height=64):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    points = torch.from_numpy(rng.random((9, 2), dtype=np.float32) * [width, height]).float()
    images = counter.data_preprocessor.images([pixels], scale=1.0, image_ids=["0"])
    return Batch(images, [points])


def learning(counter, stage):
    counter.train().zero_grad(set_to_none=True)
    counter.begin_step(stage, 0.0)
    terms = counter.loss(batch(counter))
    sum(terms.values()).backward()
    counter.stage = None
    names = {n.split(".")[0] for n, p in counter.named_parameters() if p.grad is not None}
    return names, set(terms)


def test_each_stage_trains_one_network(counter):
    assert learning(counter, "counter")[0] == {"backbone", "decoder", "readout"}
    assert learning(counter, "localiser") == ({"localiser"}, {"loss_localiser"})
    assert [stage.name for stage in counter.stages] == ["counter", "localiser"]
    assert sum(stage.share for stage in counter.stages) == pytest.approx(1)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (61, 43)])
def test_the_count_is_the_counters_and_the_map_the_localisers(counter, width, height):
    images = batch(counter.eval(), width, height).images
    (found,) = counter.infer(images)
    coarse = super(type(counter), counter).estimate(images).density
    rows, columns = -(-height // 8), -(-width // 8)
    wanted = float(coarse[0, 0, :rows, :columns].sum().detach())
    assert found.count == pytest.approx(wanted, rel=1e-4)
    assert found.density.shape == (height, width)
    assert found.density.sum() == pytest.approx(found.count, rel=1e-4)


def test_a_localiser_that_sees_nothing_spreads_the_count_evenly(counter):
    images = batch(counter.eval(), 40, 40).images
    before = counter.localiser.read.bias.detach().clone()
    with torch.no_grad():
        counter.localiser.read.bias.fill_(-1e6)
        (found,) = counter.infer(images)
        counter.localiser.read.bias.copy_(before)
    assert found.count > 0
    np.testing.assert_allclose(found.density, found.count / 1600, rtol=1e-3)


def test_it_has_the_parameters_of_its_layers(counter):
    trunk = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    total = sum(9 * a * b + b for a, b in pairwise(trunk))
    total += 512 * 128 + 128  # to the width of the messages
    total += 2 * (128 * 64 + 64) + 128 * 64 + 64 * 128 + 128  # query, value, key, message
    total += 2 * (9 * 128 * 128 + 128) + 129
    blocks = [(4, 16), (16, 32), (32, 64), (64, 128), (128 + 64, 64), (64 + 32, 32), (32 + 16, 16)]
    total += sum(9 * (a * b + b * b) + 4 * b for a, b in blocks) + 17
    assert sum(p.numel() for p in counter.parameters()) == total


def test_a_message_reaches_the_other_end_of_the_map():
    torch.manual_seed(0)
    decoder = GlobalMessages(
        [FeatureShape(6, 8)], lambda a, b: torch.nn.Conv2d(a, b, 3, padding=1), channels=8
    )
    x = torch.rand(1, 6, 12, 20, requires_grad=True)
    decoder([x])[0, :, 0, 0].sum().backward()
    assert (x.grad[0].abs().sum(0) > 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"localiser_width": 12}, "multiple of 8"), ({"localiser_share": 1.0}, "between 0 and 1")],
)
def test_options_that_make_no_sense_are_refused(change, words):
    with pytest.raises(PartError, match=words):
        build_counter(merge(MODEL, change), load_weights=False)
