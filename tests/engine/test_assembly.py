"""Claims about how the parts of a run are put together."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cellbench.data.pipeline import PreparedImages
from cellbench.data.stored_set import open_set
from cellbench.data.whole_images import WholeImages
from cellbench.engine import assembly
from cellbench.engine.assembly import (
    make_training,
    make_transform,
    prepare,
    start_counter,
    starting_weights,
    whole_images,
)
from cellbench.engine.devices import ALONE
from cellbench.engine.released import ReleasedProtocolCrops
from cellbench.engine.request import Request, resolve_run
from cellbench.errors import UserError
from cellbench.models.weights import WeightsInfo
from cellbench.structures import CellSample

ASKED = Request(
    "cellbench_toy:methods/brightness.py", dataset="adi-sim", protocol="smoke", seed=4,
    overrides=("data.input_scale=0.5", "data.batch_size=3", "data.crops_per_image=2"),
)  # fmt: skip


@pytest.fixture
def prepared(bench):
    return lambda **changes: prepare(resolve_run(dataclasses.replace(ASKED, **changes), print))


def test_a_run_is_prepared_with_its_batch_norms_folded(prepared):
    found = prepared(device="cpu")
    assert (found.device, found.processes, found.fold) == (torch.device("cpu"), ALONE, True)
    assert not prepare(resolve_run(ASKED, print), fold=False).fold
    assert found.images is found.stored


@pytest.mark.parametrize(
    ("protocol", "kind"), [("smoke", WholeImages), ("literature", None), ("released", "crops")]
)
def test_validation_is_on_the_images_of_the_protocol(prepared, bench, protocol, kind):
    known = prepared(protocol=protocol)
    made = make_training(known, start_counter(known, print), bench)
    assert made.train.ids == tuple(known.split.train)
    if kind is WholeImages:
        assert isinstance(made.validation, WholeImages)
        assert made.validation.ids == tuple(known.split.val)
        assert made.validation.input_scale == 0.5
    elif kind is None:
        assert made.validation is None
    else:
        assert isinstance(made.validation, ReleasedProtocolCrops)
    assert (made.seed, made.split, made.folder, made.fold) == (4, 0, bench, True)


def test_the_crops_are_those_of_the_config(prepared, bench):
    known = prepared()
    made = make_training(known, start_counter(known, print), bench).train
    assert (made.batch_size, made.crops_per_image, made.seed, made.split) == (3, 2, 4, 0)
    assert len(made.batch(0)["arrays"]) == 3
    assert made.batch(0)["scale"] == 0.5


def test_numpys_and_torchs_random_numbers_start_from_the_seed(prepared):
    drawn = []
    for seed in (4, 4, 5):
        counter = start_counter(prepared(seed=seed), print)
        drawn.append((np.random.random(), torch.rand(()).item()))  # noqa: NPY002
        assert counter.level.device.type == "cpu"
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][1] != drawn[2][1]


def test_prepared_images_are_what_every_part_sees(prepared):
    known = prepared(overrides=("data.prepare=[{'type': 'Negative'}]", "data.input_scale=1.0"))
    assert isinstance(known.images, PreparedImages)
    image_id = known.split.test[0]
    wanted = 255 - open_set("adi-sim").pixels(image_id)
    ((data, _),) = whole_images(known, [image_id])
    np.testing.assert_array_equal(data["arrays"][0], wanted)


@pytest.mark.parametrize(
    ("device", "gigabytes", "batches"), [("cpu", 0, 4), ("cuda", 80, 1), ("cuda", 4, 2)]
)
def test_a_gpu_is_given_as_many_images_at_once_as_its_memory_holds(
    prepared, monkeypatch, device, gigabytes, batches
):
    facts = SimpleNamespace(total_memory=gigabytes << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    known = dataclasses.replace(prepared(), device=torch.device(device), images=Large())
    assert len(list(whole_images(known, list(Large.ids)))) == batches


class Large:
    """Blank images of 1000x1000 px, a quarter of which is fed."""

    ids = ("a", "b", "c", "d")

    def sample(self, image_id):
        return CellSample(image_id, np.zeros((0, 2), np.float32), (1000, 1000))

    def pixels(self, image_id):
        return np.zeros((1000, 1000, 3), np.uint8)


def with_own(known, own):
    """The same set as one of a user's own."""
    manifest = dataclasses.replace(known.stored.manifest, own=own)
    return dataclasses.replace(known, stored=dataclasses.replace(known.stored, manifest=manifest))


def test_a_method_that_learns_from_places_refuses_numbers_alone(prepared, bench, monkeypatch):
    known = prepared()
    counter = start_counter(known, print)
    refused, allowed = (with_own(known, SimpleNamespace(counts_only=one)) for one in (True, False))
    with pytest.raises(UserError, match="learns from places; take methods/bloblog"):
        make_training(refused, counter, bench)
    assert make_training(allowed, counter, bench).counter is counter
    monkeypatch.setattr(type(counter), "needs_points", False)
    assert make_training(refused, counter, bench).counter is counter


def test_a_transform_that_asks_for_the_scale_gets_it(monkeypatch):
    class Scaled:
        def __init__(self, edge, input_scale):
            self.edge, self.input_scale = edge, input_scale

    class Plain:
        def __init__(self, edge):
            self.edge = edge

    monkeypatch.setitem(assembly.TRANSFORMS.module_dict, "Scaled", Scaled)
    monkeypatch.setitem(assembly.TRANSFORMS.module_dict, "Plain", Plain)
    assert make_transform({"type": "Plain", "edge": 5}, 0.25).edge == 5
    assert make_transform({"type": "Scaled", "edge": 5}, 0.25).input_scale == 0.25


def test_a_record_names_the_weights_that_a_trunk_started_from_or_wanted(prepared):
    counter = start_counter(prepared(), print)
    assert starting_weights(counter) == {"source": "random", "sha256": None}
    counter.weights_info = WeightsInfo("random", None, "vgg16_bn")
    assert starting_weights(counter)["wanted"] == "vgg16_bn"
    counter.weights_info = WeightsInfo("file:vgg16_bn", "ab", "vgg16_bn")
    assert starting_weights(counter) == {"source": "file:vgg16_bn", "sha256": "ab"}
