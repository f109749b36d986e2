"""ResNet against torchvision's."""

import pytest
import torch
import torchvision

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.backbones.resnet import ResNet


def test_maps_are_torchvisions_where_no_stride_is_taken_out():
    ours = ResNet(depth=18, stages=4, coarsest=32, strides=(4, 8, 16, 32), weights=None).eval()
    theirs = torchvision.models.resnet18(weights=None).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for index, (found, shape) in enumerate(zip(ours(images), ours.shapes, strict=True)):
            x = getattr(theirs, f"layer{index + 1}")(x)
            torch.testing.assert_close(found, x)
            assert shape == FeatureShape(x.shape[1], 4 * 2**index)


def test_the_trunk_of_sfcn_has_1024_channels_at_stride_8():
    trunk = ResNet(depth=101, stages=3, coarsest=8, strides=(8,), weights=None).eval()
    assert trunk.shapes == (FeatureShape(1024, 8),)
    with torch.no_grad():
        (found,) = trunk(torch.randn(1, 3, 32, 48))
    assert found.shape == (1, 1024, 4, 6)
    # stem, then 3, 4 and 23 bottlenecks of three convolutions, one more in the first of each stage
    convolutions = [m for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * (3 + 4 + 23) + 3
    theirs = torchvision.models.resnet101(weights=None).state_dict()
    ours = trunk.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items() if not name.startswith(("layer4", "fc"))
    }


def test_frozen_stages_keep_weights_and_statistics():
    trunk = ResNet(depth=18, stages=2, strides=(8,), weights=None, frozen_stages=2).train()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    trunk(torch.randn(2, 3, 32, 32))[0].square().mean().backward()
    for name, parameter in trunk.named_parameters():
        assert name.startswith(tuple(trunk.untrained)) == (parameter.grad is None), name
    changed = {n.split(".")[0] for n, v in trunk.state_dict().items() if not v.equal(before[n])}
    assert changed == {"layer2"}
    assert set(trunk.untrained) == {"conv1.", "bn1.", "layer1."}


@pytest.mark.parametrize(
    "options",
    [
        {"strides": ()},
        {"strides": (16,)},
        {"strides": (8, 4)},
        {"coarsest": 2},
        {"stages": 5},
        {"frozen_stages": 5},
    ],
)
def test_what_resnet_has_not_is_named(options):
    with pytest.raises(PartError, match=r"ResNet (with|has)"):
        ResNet(**{"depth": 18, "weights": None, **options})


def test_an_unfrozen_trunk_trains_every_stage():
    trunk = ResNet(weights=None, frozen_stages=2)
    trunk.unfreeze()
    assert dict(trunk.untrained) == {}
    assert all(parameter.requires_grad for parameter in trunk.parameters())
    trunk.train()
    assert all(module.training for module in trunk.modules())
