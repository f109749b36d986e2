"""The small helpers that the simulators share."""

import numpy as np
import pytest

from cellbench_plugins.simulators._counts import generator, quantile, stratum
from cellbench_plugins.simulators._placing import place_apart
from cellbench_plugins.simulators._texture import (
    enlarge,
    jpeg,
    outline,
    ramp,
    signed_radius,
    smooth_noise,
    to_uint8,
)


def test_a_set_has_one_image_in_each_stratum_in_any_order():
    levels = np.array([stratum(i, seed=3, images=50, stream=9) for i in range(50)])
    assert sorted((levels * 50).astype(int)) == list(range(50))
    assert (np.diff(levels) < 0).any()
    assert stratum(7, seed=3, images=50, stream=9) == levels[7]


def test_a_second_set_follows_the_first():
    first = [stratum(i, seed=0, images=20, stream=9) for i in range(20)]
    second = [stratum(i, seed=0, images=20, stream=9) for i in range(20, 40)]
    assert first != second
    assert sorted(int(level * 20) for level in second) == list(range(20))


def test_quantiles_are_joined_by_straight_lines():
    assert quantile(0.25, (0, 0.5, 1), (10, 20, 100)) == 15
    assert quantile(0.75, (0, 0.5, 1), (10, 20, 100)) == 60


def test_streams_seeds_and_indices_are_told_apart():
    draws = {generator(s, i, t).random() for s in (0, 1) for i in (0, 1) for t in (0, 1)}
    assert len(draws) == 8


@pytest.mark.parametrize("scale", [0.7, 1.5, 4.0, 12.0])
def test_smooth_noise_has_about_unit_deviation_and_its_scale(scale):
    field = smooth_noise(np.random.default_rng(0), (1200, 900), scale)
    assert field.shape == (1200, 900)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1.0, abs=0.15)
    # Smoothing white noise by a Gaussian of deviation s correlates it as exp(-(lag / 2s)^2).
    lag = max(1, round(2 * scale))
    found = np.corrcoef(field[lag:].ravel(), field[:-lag].ravel())[0, 1]
    assert found == pytest.approx(np.exp(-((lag / (2 * scale)) ** 2)), abs=0.1)


def test_enlarging_keeps_the_mean_and_the_constants():
    field = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    assert enlarge(field, 3).shape == (18, 15)
    assert enlarge(np.full((4, 4), 2.5), 4) == pytest.approx(2.5)


def test_a_circle_has_signed_radius_one_on_its_outline():
    angle = np.linspace(0.0, 6.0, 13)
    rho = signed_radius(np.cos(angle), np.sin(angle), np.zeros(4), np.zeros(4))
    assert rho == pytest.approx(1.0)


def test_an_outline_is_the_sum_of_its_waves():
    angle = np.linspace(-3.0, 3.0, 25)
    cosines, sines = outline(np.random.default_rng(2), 1, 0.1)
    bound = 1.0 + sum(
        c * np.cos(k * angle) + s * np.sin(k * angle)
        for k, c, s in zip((2, 3, 4, 5), cosines[0], sines[0], strict=True)
    )
    rho = signed_radius(bound * np.cos(angle), bound * np.sin(angle), cosines[0], sines[0])
    assert rho == pytest.approx(1.0, abs=1e-6)


def test_the_centre_of_an_outline_is_inside_it():
    assert signed_radius(np.zeros(1), np.zeros(1), np.ones(4), np.ones(4)) == 0.0


def test_a_ramp_rises_or_falls_between_its_ends():
    assert ramp(np.array([0.0, 1.0, 1.5, 2.0, 3.0]), 1.0, 2.0).tolist() == [0, 0, 0.5, 1, 1]
    assert ramp(np.array([0.0, 1.5, 3.0]), 2.0, 1.0).tolist() == [1, 0.5, 0]


def test_grey_values_are_rounded_and_clipped():
    assert to_uint8(np.array([-3.0, 0.6, 254.4, 300.0])).tolist() == [0, 1, 254, 255]


def test_jpeg_changes_little_and_keeps_the_shape():
    rng = np.random.default_rng(0)
    pixels = to_uint8(128 + 20 * smooth_noise(rng, (40, 60), 6.0))[..., None].repeat(3, axis=2)
    packed = jpeg(pixels, 90)
    assert packed.shape == pixels.shape
    assert packed.flags.c_contiguous
    assert 0 < np.abs(packed.astype(int) - pixels).max() < 20


def test_cells_are_thrown_apart_and_only_where_they_are_wanted():
    crowding = np.zeros((100, 120))
    crowding[20:90, 30:110] = 1.0
    radius = np.full(25, 4.0)
    points = place_apart(np.random.default_rng(0), radius, crowding, gap_px=1.0, touch=(1.0, 1.0))
    assert points.shape == (25, 2)
    assert ((points >= (30, 20)) & (points < (110, 90))).all()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distance[np.triu_indices(25, 1)].min() > 9.0


def test_cells_find_a_place_even_where_there_is_no_room():
    points = place_apart(
        np.random.default_rng(0), np.full(40, 9.0), np.ones((20, 20)), gap_px=2.0, touch=(1.0, 1.2)
    )
    assert points.shape == (40, 2)
    assert (points < 20).all()


def test_no_cells_have_no_places():
    points = place_apart(
        np.random.default_rng(0), np.zeros(0), np.ones((9, 9)), gap_px=1.0, touch=(1.0, 1.0)
    )
    assert points.shape == (0, 2)
    assert points.dtype == np.float32
