"""Claims about the sizes that a network is fed with."""

import numpy as np
import pytest

from cellbench.models.build import build_counter

POINTS = {
    "type": "PointCounter",
    "backbone": {"type": "VGG16", "strides": [2, 4], "weights": None},
    "decoder": {"type": "FPN", "stride": 2, "channels": 32},
    "head": {"type": "PointHead", "spacing_px": 2},
    "matcher": {"type": "Hungarian"},
    "loss": {"type": "PointLoss"},
}
DENSITY = {
    "type": "DensityCounter",
    "backbone": {"type": "VGG16", "strides": [2, 4], "weights": None},
    "decoder": {"type": "FPN", "stride": 4},
    "target": {"type": "GaussianDensity"},
    "loss": {"type": "DensityMSE"},
}


@pytest.mark.parametrize("model", [POINTS, DENSITY], ids=lambda model: model["type"])
def test_images_are_padded_to_a_multiple_of_32_px_unless_the_config_gives_another(model):
    """The coarsest stride of the trunks; a config does not write it, so its hash depends on it."""
    pixels = np.zeros((33, 64, 3), dtype=np.uint8)
    for multiple, expected in ((None, (64, 64)), (48, (48, 96))):
        options = {} if multiple is None else {"size_multiple": multiple}
        counter = build_counter({**model, **options}, load_weights=False)
        images = counter.data_preprocessor.images([pixels], scale=1.0, image_ids=["a"])
        assert tuple(images.pixels.shape[2:]) == expected
        assert images.sizes.tolist() == [[64, 33]]
