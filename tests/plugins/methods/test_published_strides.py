"""The strides of density maps, as the published networks have them."""

import pytest
import torch

from cellbench.config.sources import find_config, load_file
from cellbench.models.build import build_counter

STRIDES = {
    "mcnn": 4, "fcrn": 1, "fcrn_b": 1, "csrnet": 8, "sfcn": 8, "sfcn_resnet101": 8, "dmcount": 8,
    "dmcount_published": 8, "sasnet": 1, "ordinalentropy": 8, "pgcnet": 1, "unet": 1, "saunet": 1,
}  # fmt: skip


@pytest.mark.parametrize(("name", "stride"), STRIDES.items())
def test_a_map_has_the_stride_of_the_published_network(name, stride):
    with torch.device("meta"):  # shapes alone: nothing is computed
        model = load_file(find_config(f"methods/{name}.py"))["model"]
        counter = build_counter(model, load_weights=False)
        density = counter.readout(counter.features(torch.zeros(2, 3, 64, 96)))
    assert counter.readout.stride == stride
    assert density.shape == (2, 1, 64 // stride, 96 // stride)
