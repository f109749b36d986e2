"""VGG-19 against torchvision's."""

import pytest
import torch
from torchvision.models import vgg

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.backbones.vgg import VGG16, VGG19


@pytest.mark.parametrize("batch_norm", [True, False])
def test_its_map_of_stride_16_is_torchvisions_before_the_last_pool(batch_norm):
    ours = VGG19(batch_norm=batch_norm, strides=(16,), weights=None).eval()
    # the convolutional part alone: the classifier behind it takes seconds to draw
    theirs = vgg.make_layers(vgg.cfgs["E"], batch_norm=batch_norm).eval()
    theirs.load_state_dict(
        {name.removeprefix("features."): value for name, value in ours.state_dict().items()}
    )
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[0], theirs[:-1](images))
    assert ours.shapes == (FeatureShape(512, 16),)


@pytest.mark.parametrize(("kind", "convolutions"), [(VGG16, 10), (VGG19, 12)])
def test_stride_8_alone_ends_before_the_fourth_pool(kind, convolutions):
    trunk = kind(batch_norm=False, strides=(8,), weights=None)
    layers = list(trunk.features)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in layers) == convolutions
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in layers) == 3
    assert isinstance(layers[-1], torch.nn.ReLU)
    assert layers[-2].out_channels == 512


def test_errors_name_the_network():
    with pytest.raises(PartError, match="VGG19 with strides"):
        VGG19(strides=(4,), weights=None, frozen_stages=4)
    with pytest.raises(PartError, match="VGG19 gives maps"):
        VGG19(strides=(3,), weights=None)
