import numpy as np
import pytest

from cellbench.data.contracts import Picture
from cellbench.errors import PartError
from cellbench.structures import no_points
from cellbench_plugins.transforms.stain import (
    EOSIN,
    HAEMATOXYLIN,
    StainJitter,
    StainNormalisation,
    find_stains,
)

RNG = np.random.default_rng(0)


def unit(*values):
    return np.array(values) / np.linalg.norm(values)


def section(stains, most, side=120, glass=0.3, seed=0):
    """Pixels painted from known amounts of two stains, a part of them glass."""
    rng = np.random.default_rng(seed)
    pure = rng.random((side * side, 1)) < 0.5
    dark = np.where(pure, [1.0, 0.04], [0.04, 1.0]) * rng.uniform(0.4, 1, (side * side, 1))
    amounts = dark * most
    amounts[: int(glass * len(amounts))] = 0.01
    pixels = np.rint(256 * np.exp(-amounts @ np.asarray(stains)) - 1).clip(0, 255)
    return amounts, pixels.astype(np.uint8).reshape(side, side, 3)


def normalised(pixels, **options):
    return StainNormalisation(**options)(Picture(pixels, no_points()), RNG).pixels


@pytest.mark.parametrize(
    "stains",
    [
        (unit(0.65, 0.70, 0.29), unit(0.25, 0.90, 0.36)),
        (unit(0.56, 0.72, 0.41), unit(0.20, 0.85, 0.48)),
    ],
)
def test_the_stains_that_a_section_was_painted_with_are_found(stains):
    _, pixels = section(stains, (1.8, 1.0))
    density = -np.log((pixels.reshape(-1, 3).astype(np.float64) + 1) / 256)
    found = find_stains(density, 1.0)
    # The purest pixels hold 4 % of the other stain.
    np.testing.assert_allclose(found, stains, atol=0.06)


def test_two_slides_with_other_stains_and_amounts_come_out_alike():
    _, pale = section((unit(0.65, 0.66, 0.37), unit(0.22, 0.87, 0.44)), (1.5, 0.8))
    _, red = section((unit(0.57, 0.72, 0.40), unit(0.18, 0.90, 0.40)), (2.4, 1.4))
    before = np.abs(pale.astype(float) - red).mean()
    after = np.abs(normalised(pale).astype(float) - normalised(red)).mean()
    assert before > 15
    assert after < 3


def test_a_section_in_the_reference_colours_stays_as_it_is():
    reference = (unit(0.65, 0.66, 0.37), unit(0.22, 0.87, 0.44))
    amounts, pixels = section(reference, (2.0, 1.0))
    tissue = amounts.sum(axis=1) > 0.1
    own = np.percentile(amounts[tissue], 99, axis=0)
    again = normalised(pixels, amounts=tuple(own))
    assert np.abs(again.astype(float) - pixels).mean() < 4  # a pure pixel holds 4 % of the other


def test_glass_stays_bright():
    amounts, pixels = section((unit(0.57, 0.72, 0.40), unit(0.18, 0.90, 0.40)), (2.4, 1.4))
    after = normalised(pixels).reshape(-1, 3)
    assert after[amounts.sum(axis=1) < 0.1].min() > 240


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((40, 50, 3), 250, dtype=np.uint8),
        np.full((40, 50, 3), 90, dtype=np.uint8),
        np.zeros((40, 50, 3), dtype=np.uint8),
        np.full((1, 1, 3), 128, dtype=np.uint8),
        np.broadcast_to(np.arange(40, 90, dtype=np.uint8)[None, :, None], (40, 50, 3)),
    ],
    ids=["glass", "one colour", "black", "one pixel", "grey"],
)
def test_a_picture_without_two_stains_keeps_its_pixels(pixels):
    np.testing.assert_array_equal(normalised(pixels), pixels)


def test_points_and_size_stay_and_nothing_is_drawn():
    _, pixels = section((unit(0.65, 0.7, 0.3), unit(0.1, 0.9, 0.3)), (2.0, 1.0), side=61)
    points = np.array([[3.5, 4.5]], dtype=np.float32)
    first = StainNormalisation()(Picture(pixels, points), np.random.default_rng(1))
    second = StainNormalisation()(Picture(pixels, points), np.random.default_rng(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.points, points)
    assert first.size == (61, 61)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"haematoxylin": (1.0, 2.0)}, "haematoxylin"),
        ({"eosin": (0.0, 1.0, 1.0)}, "eosin"),
        ({"haematoxylin": (1, 1, 1), "eosin": (2, 2, 2)}, "one colour"),
        ({"amounts": (1.0, -1.0)}, "amounts"),
        ({"percentile": 50}, "percentile"),
    ],
)
def test_a_wrong_reference_is_told_in_one_sentence(options, word):
    with pytest.raises(PartError, match=word):
        StainNormalisation(**options)


STAINS = (unit(*HAEMATOXYLIN), unit(*EOSIN))


def amounts_in(pixels):
    """(N, 2) of the two stains, and how far (N, 3) densities lie off their plane."""
    density = -np.log((255 * np.asarray(pixels, dtype=np.float64).reshape(-1, 3) + 1) / 256)
    amounts, *_ = np.linalg.lstsq(np.array(STAINS).T, density.T, rcond=None)
    return amounts.T, density - amounts.T @ STAINS


@pytest.mark.parametrize("seed", range(5))
def test_each_stain_is_multiplied_and_shifted_and_what_is_neither_stays(seed):
    rng = np.random.default_rng(seed)
    pixels = np.exp(-rng.uniform(0.3, 1.2, (30, 20, 3)))  # of any colour, nowhere white
    jitter = StainJitter(strength=0.3, shift=0.05)
    after = jitter(Picture(pixels.astype(np.float32), no_points()), np.random.default_rng(seed))
    (before, rest), (now, rest_now) = amounts_in(pixels), amounts_in(after.pixels)
    for stain in range(2):
        factor, shift = np.polyfit(before[:, stain], now[:, stain], 1)
        assert abs(factor - 1) <= 0.3
        assert abs(shift) <= 0.05
        np.testing.assert_allclose(now[:, stain], factor * before[:, stain] + shift, atol=1e-4)
    np.testing.assert_allclose(rest_now, rest, atol=1e-4)


def test_factors_and_shifts_reach_as_far_as_they_may_and_no_farther():
    # far from white, where nothing is cut off
    pixels = np.exp(-np.random.default_rng(0).uniform(0.9, 1.3, (8, 8, 3))).astype(np.float32)
    jitter = StainJitter(strength=0.4, shift=0.1)
    found = []
    for seed in range(300):
        after = jitter(Picture(pixels, no_points()), np.random.default_rng(seed)).pixels
        before, now = amounts_in(pixels)[0], amounts_in(after)[0]
        found.append(np.polyfit(before[:, 0], now[:, 0], 1))
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    assert -0.4 <= low[0] - 1 < -0.36
    assert 0.36 < high[0] - 1 <= 0.4
    assert -0.1 <= low[1] < -0.09
    assert 0.09 < high[1] <= 0.1


def test_without_strength_and_shift_a_picture_stays():
    _, pixels = section(STAINS, (2.0, 1.0))
    after = StainJitter(strength=0, shift=0)(Picture(pixels, no_points()), RNG).pixels
    np.testing.assert_allclose(255 * after, pixels, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strength": 1.0}, "strength is from 0 to below 1"),
        ({"shift": -0.1}, "shift at least 0"),
        ({"eosin": HAEMATOXYLIN}, "one colour"),
        ({"eosin": (1, 2)}, "three optical densities"),
    ],
)
def test_a_jitter_that_makes_no_sense_is_refused(options, told):
    with pytest.raises(PartError, match=told):
        StainJitter(**options)
