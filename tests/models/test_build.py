"""Claims about counters that are made from a config."""

import pytest
import torch
from safetensors.torch import save_file

from cellbench.errors import PartError
from cellbench.models.build import build_counter
from cellbench.models.weights import RANDOM, WeightsInfo
from cellbench_plugins.backbones.vgg import VGG16

MODEL = {
    "type": "PointCounter",
    "backbone": {"type": "VGG16", "strides": [2, 4], "frozen_stages": 1},
    "decoder": {"type": "FPN", "stride": 4, "channels": 8},
    "head": {"type": "PointHead"},
    "matcher": {"type": "Hungarian"},
    "loss": {"type": "PointLoss"},
}


@pytest.fixture
def trunk_file(home):
    (home / "weights").mkdir()
    file = home / "weights" / "vgg16_bn.safetensors"
    return lambda: save_file(VGG16(strides=(2, 4), weights=None).state_dict(), file)


def frozen(counter):
    return [name for name, p in counter.named_parameters() if not p.requires_grad]


def test_a_frozen_trunk_whose_weights_are_not_here_is_trained_whole(home, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said = []
    counter = build_counter(MODEL, say=said.append)
    assert len(said) == 1
    assert "starts from random filters" in said[0]
    assert counter.weights_info == WeightsInfo("random", None, "vgg16_bn")
    whole = MODEL | {"backbone": MODEL["backbone"] | {"frozen_stages": 0}}
    assert frozen(counter) == frozen(build_counter(whole, load_weights=False))
    assert len(frozen(counter)) < len(frozen(build_counter(MODEL, load_weights=False)))


def test_a_frozen_trunk_with_its_weights_stays_frozen(trunk_file):
    trunk_file()
    counter = build_counter(MODEL, say=pytest.fail)
    assert counter.weights_info.source == "file:vgg16_bn"
    assert counter.weights_info.sha256
    assert frozen(counter) == frozen(build_counter(MODEL, load_weights=False))


def test_a_counter_that_gets_its_weights_later_asks_for_none(home):
    counter = build_counter(MODEL, load_weights=False)
    assert counter.weights_info == RANDOM
    assert "backbone.features.0.weight" in frozen(counter)
    assert counter.training


def test_a_trunk_that_asks_for_no_weights_gets_none(home):
    backbone = MODEL["backbone"] | {"weights": None}
    counter = build_counter(MODEL | {"backbone": backbone}, say=pytest.fail)
    assert counter.weights_info == RANDOM


def test_a_decoder_fits_its_backbone_and_a_head_its_decoder(home):
    torch.manual_seed(0)
    for stride in (2, 4):
        decoder = MODEL["decoder"] | {"stride": stride, "channels": 12}
        head = {"type": "PointHead", "spacing_px": 2.0}
        counter = build_counter(MODEL | {"decoder": decoder, "head": head}, load_weights=False)
        assert (counter.decoder.shape.stride, counter.decoder.shape.channels) == (stride, 12)
        (features,) = [counter.decoder(counter.backbone(torch.zeros(1, 3, 32, 32)))]
        assert features.shape == (1, 12, 32 // stride, 32 // stride)
        assert counter.head(features).points.shape[-1] == 2


@pytest.mark.parametrize("wrong", [None, [], {}, {"backbone": MODEL["backbone"]}])
def test_a_model_without_a_type_is_one_sentence(wrong):
    with pytest.raises(PartError, match="model: a dict with a 'type' is wanted here"):
        build_counter(wrong)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"head": {"type": "PointHed"}}, "PointHed"),
        ({"heads": {"type": "PointHead"}}, "heads"),
        ({"head": "PointHead"}, "model.head"),
        ({"matcher": {"type": "Hungarian", "k": 3}}, "model.matcher"),
    ],
)
def test_a_wrong_part_is_named_by_its_key(changed, named):
    with pytest.raises(PartError, match=named):
        build_counter(MODEL | changed, load_weights=False)
