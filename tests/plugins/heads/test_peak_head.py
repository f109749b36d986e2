"""The peak head."""

import pytest
import torch

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape
from cellbench_plugins.heads.peak import PeakHead


def passing(window=3, refine=False):
    """A head whose map is its one input channel."""
    head = PeakHead(FeatureShape(1, 4), window=window, refine=refine)
    torch.nn.init.ones_(head.map.weight)
    torch.nn.init.zeros_(head.map.bias)
    return head


def test_every_map_cell_proposes_its_own_centre():
    proposals = passing()(torch.randn(2, 1, 2, 3))
    assert proposals.points[1].tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
    assert proposals.logits.shape == (2, 6)
    assert proposals.spacing_px == 4


def test_only_local_maxima_may_be_counted():
    features = torch.zeros(1, 1, 5, 5)
    features[0, 0, 1, 1], features[0, 0, 1, 2], features[0, 0, 4, 4] = 3, 2, 1
    head = passing()
    peaks = head.peaks(head(features), (5, 5)).view(5, 5)
    assert peaks[1, 1]
    assert peaks[4, 4]
    assert not peaks[1, 2]


def test_refined_points_move_towards_the_higher_neighbour_outside_training_only():
    features = torch.zeros(1, 1, 3, 3)
    features[0, 0, 1] = torch.tensor([0.0, 4.0, 2.0])
    head = passing(refine=True)
    assert head.train()(features).points[0, 4].tolist() == [6, 6]
    x, y = head.eval()(features).points[0, 4].tolist()
    assert 6 < x <= 8
    assert y == 6
    assert passing().eval()(features).points[0, 4].tolist() == [6, 6]


def test_logits_are_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert passing()(torch.randn(1, 1, 2, 2)).logits.dtype == torch.float32


@pytest.mark.parametrize("window", [0, 2, -3])
def test_an_even_window_is_refused(window):
    with pytest.raises(PartError, match="odd"):
        PeakHead(FeatureShape(1, 4), window=window)
