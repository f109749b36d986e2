"""VGG-16 against torchvision's."""

import pytest
import torch
import torchvision

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.backbones.vgg import VGG16


@pytest.mark.parametrize("batch_norm", [True, False])
def test_maps_are_torchvisions_after_the_last_relu_of_each_stage(batch_norm):
    ours = VGG16(batch_norm=batch_norm, strides=(1, 2, 4, 8, 16), weights=None).eval()
    theirs = getattr(torchvision.models, ours.arch)(weights=None).features.eval()
    state = {name.removeprefix("features."): value for name, value in ours.state_dict().items()}
    assert set(state) == set(theirs.state_dict())
    theirs.load_state_dict(state)
    images = torch.randn(2, 3, 48, 32)
    expected, features = [], images
    with torch.no_grad():
        for layer in theirs:
            if isinstance(layer, torch.nn.MaxPool2d):
                expected.append(features.clone())
            features = layer(features)
        maps = ours(images)
    for ours_map, theirs_map, shape in zip(maps, expected, ours.shapes, strict=True):
        torch.testing.assert_close(ours_map, theirs_map)
        assert ours_map.shape[1:] == (shape.channels, 48 // shape.stride, 32 // shape.stride)


@pytest.mark.parametrize("strides", [(4,), (1, 8), (2, 16), (8, 16)])
def test_only_the_stages_that_are_asked_for_are_built(strides):
    backbone = VGG16(strides=strides, weights=None)
    channels = {1: 64, 2: 128, 4: 256, 8: 512, 16: 512}
    assert backbone.shapes == tuple(FeatureShape(channels[s], s) for s in strides)
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == {1: 2, 2: 4, 4: 7, 8: 10, 16: 13}[max(strides)]
    maps = backbone(torch.zeros(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps] == [32 // s for s in strides]


def test_a_side_that_a_stride_does_not_divide_is_cut():
    backbone = VGG16(strides=(4, 8), weights=None)
    assert [tuple(m.shape[-2:]) for m in backbone(torch.zeros(1, 3, 21, 31))] == [(5, 7), (2, 3)]


def test_frozen_stages_keep_weights_and_statistics():
    backbone = VGG16(strides=(4, 8), weights=None, frozen_stages=2).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, 32, 32))
    sum(m.square().mean() for m in maps).backward()
    for name, parameter in backbone.named_parameters():
        listed = name.startswith(tuple(backbone.untrained))
        assert listed == (parameter.grad is None), name
        if int(name.split(".")[1]) < 13:  # stage 3 begins after torchvision's second pool
            assert listed
    changed = {n for n, value in backbone.state_dict().items() if not value.equal(before[n])}
    assert changed
    assert min(int(name.split(".")[1]) for name in changed) > 13
    assert all("frozen_stages=2" in backbone.untrained[f"features.{i}."] for i in (0, 1, 10))


def test_biases_before_a_batch_norm_get_no_gradient_and_those_without_do():
    assert VGG16(batch_norm=False, weights=None).untrained == {}
    with_norm = VGG16(batch_norm=True, weights=None)
    frozen = {name for name, p in with_norm.named_parameters() if not p.requires_grad}
    assert frozen == set(with_norm.untrained)
    assert len(frozen) == 13


@pytest.mark.parametrize("strides", [(), (3,), (8, 4), (4, 4), (32,)])
def test_strides_that_vgg_has_not_are_named(strides):
    with pytest.raises(PartError, match=r"\[1, 2, 4, 8, 16\].*not"):
        VGG16(strides=strides, weights=None)


def test_more_frozen_stages_than_there_are_is_an_error():
    with pytest.raises(PartError, match="3 stages, so 0 to 3 can be frozen, not 4"):
        VGG16(strides=(4,), weights=None, frozen_stages=4)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_an_unfrozen_trunk_trains_every_stage(batch_norm):
    frozen = VGG16(batch_norm=batch_norm, weights=None, frozen_stages=2)
    never = VGG16(batch_norm=batch_norm, weights=None)
    frozen.unfreeze()
    assert dict(frozen.untrained) == dict(never.untrained)
    assert [p.requires_grad for p in frozen.parameters()] == [
        p.requires_grad for p in never.parameters()
    ]
    frozen.train()
    assert all(module.training for module in frozen.modules())
