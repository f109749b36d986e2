"""Claims about what a part has that says nothing of itself."""

from cellbench.models.build import build_counter
from cellbench.models.parts import Backbone, Decoder, DensityTarget, FeatureShape

DENSITY = {
    "type": "DensityCounter",
    "backbone": {"type": "VGG16", "strides": [2, 4], "weights": None},
    "target": {"type": "GaussianDensity"},
    "loss": {"type": "DensityMSE"},
}


class Trunk(Backbone):
    """One map."""

    shapes = (FeatureShape(3, 1),)

    def forward(self, images):
        return [images]


class First(Decoder):
    """The first map."""

    shape = FeatureShape(3, 1)

    def forward(self, features):
        return features[0]


def test_a_map_of_features_is_read_by_a_convolution_and_a_density_map_as_it_is():
    read = []
    for decoder in (
        {"type": "FPN", "stride": 2, "channels": 8},
        {"type": "FCRNBMap"},  # states that it ends in the map
    ):
        strides = [4] if decoder["type"] == "FCRNBMap" else [2, 4]
        backbone = DENSITY["backbone"] | {"strides": strides}
        counter = build_counter(DENSITY | {"backbone": backbone, "decoder": decoder})
        read.append(sorted(p.shape[0] for p in counter.readout.parameters() if p.ndim == 4))
    assert read == [[1], []]


def test_a_part_that_says_nothing_has_no_weights_and_counts_in_cells():
    trunk = Trunk()
    assert (trunk.arch, trunk.pretrained, dict(trunk.untrained)) == ("", None, {})
    assert not First().ends_in_map
    assert DensityTarget.unit == 1.0
