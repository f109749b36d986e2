"""Local maxima against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellbench.models.peaks import local_maxima, subpixel_offsets
from cellbench_plugins._ops.lattice import lattice


def brute_force(scores, size):
    reach = size // 2
    height, width = scores.shape
    found = np.zeros(scores.shape, dtype=bool)
    for i in range(height):
        for j in range(width):
            window = [
                (-scores[k, m], k, m)
                for k in range(max(0, i - reach), min(height, i + reach + 1))
                for m in range(max(0, j - reach), min(width, j + reach + 1))
            ]
            found[i, j] = np.isfinite(scores[i, j]) and min(window)[1:] == (i, j)
    return found


maps = arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 1.0]),
)


@settings(deadline=None, max_examples=60)
@given(maps, st.sampled_from([1, 3, 5]))
def test_peaks_are_those_of_brute_force_also_with_ties(scores, size):
    found = local_maxima(torch.from_numpy(scores)[None], size=size)[0].numpy()
    np.testing.assert_array_equal(found, brute_force(scores, size))


def test_a_flat_map_has_one_peak():
    assert local_maxima(torch.zeros(2, 6, 5)).flatten(1).sum(1).tolist() == [1, 1]


def test_nan_is_no_peak():
    assert not local_maxima(torch.full((1, 3, 3), float("nan"))).any()


@pytest.mark.parametrize("size", [0, 2, -1])
def test_an_even_neighbourhood_is_refused(size):
    with pytest.raises(ValueError, match="odd"):
        local_maxima(torch.zeros(1, 3, 3), size=size)


def test_the_top_of_a_paraboloid_is_found():
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    scores = -0.7 * (x - 4.3) ** 2 - 0.2 * (y - 2.8) ** 2
    offsets = subpixel_offsets(scores[None])[0]
    torch.testing.assert_close(offsets[3, 4], torch.tensor([0.3, -0.2]))
    assert offsets.abs().max() <= 0.5
    assert (offsets[:, 0, 0] == 0).all()
    assert (offsets[0, :, 1] == 0).all()


def test_maps_too_small_for_a_parabola_have_no_offset():
    assert not subpixel_offsets(torch.rand(2, 2, 1)).any()


def test_lattice_points_are_centres_in_reading_order():
    points = lattice((2, 3), 4.0, torch.device("cpu"))
    assert points.tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
