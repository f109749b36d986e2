"""Identity passes a map on."""

import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.decoders.identity import Identity

SHAPES = (FeatureShape(8, 2), FeatureShape(16, 4))


@pytest.mark.parametrize(("stride", "level"), [(None, 0), (2, 0), (4, 1)])
def test_the_map_of_a_stride_or_the_finest_is_passed_on(stride, level):
    maps = [torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)]
    decoder = Identity(SHAPES, conv=None, stride=stride)
    assert decoder.shape == SHAPES[level]
    assert decoder(maps) is maps[level]


def test_a_stride_that_the_backbone_has_not_is_refused():
    with pytest.raises(PartError, match="none of 8"):
        Identity(SHAPES, conv=None, stride=8)
