"""Claims about the step from features to a density map."""

import pytest
import torch

from cellbench.models.parts import FeatureShape
from cellbench.models.readout import DensityReadout


@pytest.mark.parametrize(
    ("options", "times"), [({}, 100), ({"scale": 10.0}, 10), ({"unit": 4}, 400)]
)
def test_a_map_is_what_the_network_puts_out_divided_by_its_scale(options, times):
    """By default by 100: configs leave it out, and a cell is 1 in the target."""
    readout = DensityReadout(FeatureShape(1, 4), ends_in_map=True, **options)
    raw = torch.tensor([[[[7.0, -3.0]]]])
    torch.testing.assert_close(readout(raw), raw / times)


def test_before_training_the_map_is_two_thousandths_of_a_cell_per_square_px():
    torch.manual_seed(0)
    readout = DensityReadout(FeatureShape(16, 4))
    found = readout(torch.randn(1, 16, 20, 20))
    assert found.mean().item() == pytest.approx(2e-3 * 4**2, rel=0.05)
