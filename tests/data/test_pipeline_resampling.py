import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellbench.data.resampling import clipped_below, move_points, resample, scaled_length

scales = st.floats(0.3, 3.0)


def test_scaled_length_forgives_the_last_digit_of_a_product():
    assert 100 * 1.1 > 110
    assert scaled_length(100, 1.1) == 110
    assert scaled_length(151, 0.5) == 76
    assert scaled_length(1, 0.01) == 1


def test_a_box_on_whole_pixels_is_copied_exactly():
    pixels = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    part = resample(pixels, box=(2, 1, 6, 4), size=(4, 3))
    np.testing.assert_array_equal(part, pixels[1:4, 2:6])
    assert not np.shares_memory(part, pixels)


@settings(max_examples=25, deadline=None)
@given(scale=scales, left=st.floats(0, 20), top=st.floats(0, 12))
def test_resizing_a_part_is_what_pillow_does_with_the_whole_image(scale, left, top):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 101, 3), dtype=np.uint8)
    # Inside by more than the filter sees, where there is nothing to repeat.
    box = (left + 10, top + 10, left + 10 + 40 / scale / 3, top + 10 + 30 / scale / 3)
    part = resample(pixels, box=box, size=(40, 30))
    whole = np.asarray(Image.fromarray(pixels).resize((40, 30), Image.Resampling.BILINEAR, box=box))
    assert np.abs(part.astype(int) - whole).max() <= 1  # fixed-point rounding


def test_beyond_the_border_an_image_repeats_its_last_pixels():
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:, 3] = 200
    wide = resample(pixels, box=(0, 0, 6, 4), size=(6, 4))
    np.testing.assert_array_equal(wide[:, 3:], 200)
    np.testing.assert_array_equal(wide[:, :3], 0)


def test_float_pixels_are_resized_as_bytes_are():
    pixels = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    box = (1.3, 2.6, 25.1, 31.7)
    as_bytes = resample(pixels, box=box, size=(50, 20))
    as_floats = resample(pixels.astype(np.float32) / 255, box=box, size=(50, 20))
    assert as_floats.dtype == np.float32
    assert np.abs(as_floats * 255 - as_bytes).max() < 1.01


@settings(max_examples=30, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 40, width=32), st.floats(0, 40, width=32)), max_size=12),
    left=st.floats(0, 20),
    scale=scales,
)
def test_move_points_keeps_exactly_the_half_open_box(points, left, scale):
    given_points = np.array(points, dtype=np.float32).reshape(-1, 2)
    box = (left, 5.0, left + 16 / scale, 5.0 + 8 / scale)
    moved = move_points(given_points, box=box, size=(16, 8))
    expected = [
        ((x - box[0]) * scale, (y - box[1]) * scale)
        for x, y in given_points.tolist()
        if box[0] <= x < box[2] and box[1] <= y < box[3]
    ]
    assert moved.dtype == np.float32
    assert moved.shape == (len(expected), 2)
    np.testing.assert_allclose(moved, np.reshape(expected, (-1, 2)), atol=2e-5)
    assert (moved >= 0).all()
    assert (moved < [16, 8]).all()


def test_a_point_on_the_opening_edge_stays_and_on_the_closing_edge_goes():
    points = np.array([[2, 3], [6, 3], [2, 8], [5.9999995, 7.9999995]], dtype=np.float32)
    moved = move_points(points, box=(2, 3, 6, 8), size=(4, 5))
    np.testing.assert_array_equal(moved[0], [0, 0])
    assert len(moved) == 2


@pytest.mark.parametrize("size", [1, 64, 600, 4096])
def test_below_never_returns_the_edge_itself(size):
    points = clipped_below(np.array([[size, size - 1e-12], [0.5, 0.25]]), (size, size))
    assert (points < size).all()
    np.testing.assert_array_equal(points[1], [0.5, 0.25])
