import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.data.contracts import Picture
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS

GEOMETRY = [
    {"type": "RandomFlip"},
    {"type": "QuarterTurn"},
    {"type": "Upscale", "factor": 1.7},
    {"type": "Upscale", "factor": 0.6},
    {"type": "RandomScale", "low": 0.6, "high": 1.6},
    {"type": "Resize", "width": 67, "height": 41},
    {"type": "PadToMultiple", "multiple": 32, "fill": (0, 0, 0)},
    {"type": "RandomCrop", "size": 500, "jitter": (0.7, 1.4), "input_scale": 1.5},
    {"type": "RandomCrop", "size": 40, "jitter": (0.7, 1.4)},
    {"type": "RandomCrop", "size": 32},
]
COLOUR = [
    {"type": "ColourJitter"},
    {"type": "StainJitter"},
    {"type": "GaussianNoise"},
    {"type": "ExposureJitter"},
    {"type": "SensorNoise"},
]
# Shown by their options: QuarterTurn takes none.
EVERYTHING = pytest.mark.parametrize("config", GEOMETRY + COLOUR, ids=lambda c: c["type"])

sizes = st.tuples(st.integers(21, 75), st.integers(21, 75))
seeds = st.integers(0, 2**32 - 1)


def chance(seed=0):
    return np.random.default_rng(seed)


def chain(configs, picture, seed):
    rng = chance(seed)
    for config in configs:
        picture = TRANSFORMS.build(config)(picture, rng)
    return picture


def spot(size, place):
    """A black picture with one bright cell, 5 px wide; `place` in [0, 1] along each axis."""
    width, height = size
    x, y = (int(8 + share * (edge - 17)) for share, edge in zip(place, size, strict=True))
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 1
    return Picture(pixels, np.array([[x + 0.5, y + 0.5]], dtype=np.float32))


def noise(size, points, dtype=np.uint8):
    width, height = size
    pixels = chance(7).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if dtype == np.float32:
        pixels = pixels.astype(np.float32) / 255
    return Picture(pixels, np.array(points, dtype=np.float32).reshape(-1, 2))


def assert_spot_lies_at_its_point(picture):
    """Unless the spot was cut, its centre of brightness is the point.

    Resampling a sharp edge moves the centre by a tenth of a pixel; half a pixel would be a bug.
    """
    width, height = picture.size
    reach = 3.5 * picture.scale + 1
    grey = picture.pixels[:, :, 0].astype(np.float64)
    # An earlier transform may have cut the spot at a border that padding has since moved away.
    whole = grey.sum() > 0.97 * 25 * picture.scale**2
    for x, y in picture.points:
        if whole and reach < x < width - reach and reach < y < height - reach:
            rows, columns = np.indices(grey.shape) + 0.5
            centre = (grey * columns).sum() / grey.sum(), (grey * rows).sum() / grey.sum()
            assert centre == pytest.approx((x, y), abs=0.15)


@pytest.mark.parametrize("config", GEOMETRY, ids=lambda c: c["type"])
@settings(max_examples=12, deadline=None)
@given(size=sizes, place=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=seeds)
def test_a_cell_follows_its_point(config, size, place, seed):
    assert_spot_lies_at_its_point(chain([config], spot(size, place), seed))


@settings(max_examples=40, deadline=None)
@given(
    size=sizes,
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    configs=st.lists(st.sampled_from(GEOMETRY), min_size=2, max_size=4),
    seed=seeds,
)
def test_a_cell_follows_its_point_through_any_composition(size, place, configs, seed):
    assert_spot_lies_at_its_point(chain(configs, spot(size, place), seed))


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=seeds, cells=st.integers(0, 12), data=st.data())
def test_flips_and_turns_keep_every_cell_inside_and_on_its_pixel(size, seed, cells, data):
    width, height = size
    columns = data.draw(st.lists(st.integers(0, width - 1), min_size=cells, max_size=cells))
    rows = data.draw(st.lists(st.integers(0, height - 1), min_size=cells, max_size=cells))
    before = noise(size, [(j + 0.5, i + 0.5) for i, j in zip(rows, columns, strict=True)])
    after = chain([{"type": "RandomFlip"}, {"type": "QuarterTurn"}], before, seed)
    assert len(after.points) == cells
    places = np.floor(after.points).astype(int)
    np.testing.assert_array_equal(
        after.pixels[places[:, 1], places[:, 0]], before.pixels[rows, columns]
    )
    np.testing.assert_array_equal(after.points % 1, np.full((cells, 2), 0.5))


@pytest.mark.parametrize("name", ["RandomFlip", "QuarterTurn"])
def test_a_point_on_the_border_never_leaves_the_frame(name):
    corners = [(0, 0), (0, 20.5), (30.5, 0), np.nextafter(np.float32([31, 21]), 0)]
    for seed in range(20):
        after = chain([{"type": name}], noise((31, 21), corners), seed)
        assert len(after.points) == 4
        assert (after.points >= 0).all()
        assert (after.points < after.size).all()


def test_a_flip_is_exactly_width_minus_x():
    before = noise((150, 90), [(0.5, 0.5), (64.25, 3.0), (149.5, 89.5)])
    after = chain([{"type": "RandomFlip", "horizontal": 1.0, "vertical": 0.0}], before, 0)
    np.testing.assert_array_equal(after.points[:, 0], 150 - before.points[:, 0])
    np.testing.assert_array_equal(after.points[:, 1], before.points[:, 1])
    np.testing.assert_array_equal(after.pixels, before.pixels[:, ::-1])


def test_flips_and_turns_give_all_eight_orientations_equally_often():
    before = noise((6, 6), [])
    counts = {}
    for seed in range(800):
        after = chain([{"type": "RandomFlip"}, {"type": "QuarterTurn"}], before, seed)
        counts[after.pixels.tobytes()] = counts.get(after.pixels.tobytes(), 0) + 1
    assert len(counts) == 8
    assert min(counts.values()) > 60  # 100 expected; four deviations are 37
    assert np.ascontiguousarray(before.pixels.transpose(1, 0, 2)).tobytes() in counts


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=seeds, scale=st.floats(0.4, 2.5), low=st.floats(0.6, 1.0))
def test_a_crop_keeps_exactly_the_points_in_its_half_open_window(size, seed, scale, low):
    points = (chance(seed).random((30, 2)) * size).astype(np.float32)
    config = {"type": "RandomCrop", "size": 24, "jitter": (low, 1.3), "input_scale": scale}
    after = chain([config], noise(size, points), seed)
    drawn = after.notes["crop_scale"]
    left, top = after.notes["crop_left_px"], after.notes["crop_top_px"]
    assert after.scale == drawn
    assert low * scale * 0.999 <= drawn <= 1.3 * scale * 1.001
    right, bottom = left + after.size[0] / drawn, top + after.size[1] / drawn
    kept = [p for p in points.tolist() if left <= p[0] < right and top <= p[1] < bottom]
    expected = (np.reshape(kept, (-1, 2)) - [left, top]) * drawn
    assert after.points.shape == expected.shape
    np.testing.assert_allclose(after.points, expected, atol=1e-4)


def test_a_crop_at_scale_one_is_copied_and_not_resampled():
    before = noise((70, 50), [(20.5, 20.5)])
    for seed in range(5):
        after = chain([{"type": "RandomCrop", "size": 32}], before, seed)
        x, y = int(after.notes["crop_left_px"]), int(after.notes["crop_top_px"])
        np.testing.assert_array_equal(after.pixels, before.pixels[y : y + 32, x : x + 32])
        assert not np.shares_memory(after.pixels, before.pixels)


@pytest.mark.parametrize("scale", [0.45, 1.5, 2.0])
def test_a_crop_without_jitter_is_a_piece_of_the_whole_image_as_it_is_scored(scale):
    from cellbench.data.whole_images import at_scale

    before = noise((75, 61), [])
    whole = at_scale(before.pixels, scale)
    for seed in range(20):
        config = {"type": "RandomCrop", "size": 25, "input_scale": scale}
        after = chain([config], before, seed)
        x = round(after.notes["crop_left_px"] * scale)
        y = round(after.notes["crop_top_px"] * scale)
        piece = whole[y : y + 25, x : x + 25]
        assert np.abs(after.pixels.astype(int) - piece).max() <= 2  # Pillow's fixed point


def test_crops_reach_every_corner_of_the_image():
    corners = [(0.5, 0.5), (60.5, 0.5), (0.5, 44.5), (60.5, 44.5)]
    seen = set()
    for seed in range(600):
        config = {"type": "RandomCrop", "size": 60, "input_scale": 1.37}
        after = chain([config], noise((61, 45), corners), seed)
        left, top = after.notes["crop_left_px"], after.notes["crop_top_px"]
        original = after.points / 1.37 + (left, top)
        seen |= {tuple(np.round(p, 2).tolist()) for p in original}
    assert seen == {tuple(corner) for corner in corners}


def test_an_image_smaller_than_the_window_comes_whole():
    points = [(0.5, 0.5), (29.5, 19.5)]
    after = chain([{"type": "RandomCrop", "size": 64}], noise((30, 20), points), 3)
    assert after.size == (30, 20)
    np.testing.assert_array_equal(after.points, np.float32(points))
    narrow = chain([{"type": "RandomCrop", "size": 64}], noise((30, 90), points), 3)
    assert narrow.size == (30, 64)


@EVERYTHING
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_argument_is_left_alone(config, dtype):
    for seed in range(4):
        picture = noise((53, 38), [(3.5, 4.5), (3.5, 4.5), (52.5, 37.5)], dtype)
        pixels, points = picture.pixels.copy(), picture.points.copy()
        picture.pixels.flags.writeable = False
        picture.points.flags.writeable = False
        chain([config], picture, seed)
        np.testing.assert_array_equal(picture.pixels, pixels)
        np.testing.assert_array_equal(picture.points, points)
        assert picture.scale == 1.0


@EVERYTHING
def test_the_same_chance_gives_the_same_picture(config):
    picture = noise((53, 38), [(3.5, 4.5)])
    one, two = (chain([config], picture, 11) for _ in range(2))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.points, two.points)


@EVERYTHING
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pictures_without_cells_and_of_odd_sizes_pass(config, dtype):
    for size in ((1, 1), (3, 77), (64, 1)):
        after = chain([config], noise(size, [], dtype), 2)
        assert after.points.shape == (0, 2)
        assert after.points.dtype == np.float32
        assert after.pixels.dtype in (np.uint8, np.float32)
        assert after.pixels.ndim == 3
        if after.pixels.dtype == np.float32:
            assert after.pixels.min() >= 0
            assert after.pixels.max() <= 1


@EVERYTHING
def test_two_cells_in_one_pixel_stay_two(config):
    picture = noise((30, 30), [(15.25, 15.5), (15.75, 15.5)])
    after = chain([config], picture, 1)
    assert len(after.points) in (0, 2)  # a crop takes both or none
    assert len(np.unique(after.points, axis=0)) == len(after.points)


def test_resize_uses_the_exact_ratio_of_each_axis():
    after = chain([{"type": "Resize", "width": 90, "height": 10}], noise((30, 20), [(6, 7)]), 0)
    assert after.size == (90, 10)
    np.testing.assert_allclose(after.points, [[18, 3.5]])
    assert after.scale == pytest.approx((3 * 0.5) ** 0.5)


def test_padding_is_of_the_mean_colour_and_at_the_right_and_bottom():
    before = noise((33, 20), [(32.5, 19.5)])
    after = chain([{"type": "PadToMultiple", "multiple": 16}], before, 0)
    assert after.size == (48, 32)
    np.testing.assert_array_equal(after.points, before.points)
    np.testing.assert_array_equal(after.pixels[:20, :33], before.pixels)
    mean = before.pixels.reshape(-1, 3).mean(axis=0)
    assert np.abs(after.pixels[20:].astype(float) - mean).max() <= 0.5
    assert np.abs(after.pixels[:, 33:].astype(float) - mean).max() <= 0.5


def reference_jitter(pixels, draws, reach):
    """The parts one after the other, as their names say, without any matrix."""
    grey = lambda image: image @ np.array([0.299, 0.587, 0.114])  # noqa: E731
    image = pixels.astype(np.float64) / 255
    image = image * (1 + reach["channel_gain"] * draws[0:3]) + reach["channel_offset"] * draws[3:6]
    image = image * (1 + reach["brightness"] * draws[6])
    saturation = 1 + reach["saturation"] * draws[7]
    image = grey(image)[..., None] * (1 - saturation) + saturation * image
    mean = grey(image).mean()
    image = mean + (1 + reach["contrast"] * draws[8]) * (image - mean)
    return (image / max(1, image.max())).clip(0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_colour_jitter_is_its_parts_in_order(seed):
    reach = {
        "brightness": 0.3,
        "contrast": 0.4,
        "saturation": 0.5,
        "channel_gain": 0.2,
        "channel_offset": 0.1,
    }
    before = noise((20, 30), [(1.5, 2.5)])
    after = chain([{"type": "ColourJitter", **reach}], before, seed)
    expected = reference_jitter(before.pixels, chance(seed).uniform(-1, 1, 9), reach)
    assert after.pixels.dtype == np.float32
    np.testing.assert_allclose(after.pixels, expected, atol=2e-6)
    np.testing.assert_array_equal(after.points, before.points)


def test_colour_jitter_never_burns_out_a_bright_picture():
    pixels = np.full((20, 20, 3), 235, dtype=np.uint8)
    pixels[:, 10] = 205  # a thin wall on a bright ground
    bright = Picture(pixels, np.zeros((0, 2), np.float32))
    for seed in range(50):
        after = chain([{"type": "ColourJitter"}], bright, seed).pixels
        assert after.max() <= 1
        wall, ground = after[:, 10].mean(), after[:, :10].mean()
        assert ground - wall > 0.6 * (235 - 205) / 255


def test_colour_jitter_of_no_strength_changes_nothing():
    names = ("brightness", "contrast", "saturation", "channel_gain", "channel_offset")
    before = noise((20, 30), [])
    after = chain([{"type": "ColourJitter", **dict.fromkeys(names, 0)}], before, 3)
    np.testing.assert_allclose(after.pixels * 255, before.pixels, atol=1e-4)


def test_noise_has_the_deviation_drawn():
    grey = Picture(np.full((80, 80, 3), 0.5, np.float32), np.zeros((0, 2), np.float32))
    for seed in range(3):
        after = chain([{"type": "GaussianNoise", "most": 0.1}], grey, seed)
        assert after.pixels.std() == pytest.approx(chance(seed).uniform(0, 0.1), rel=0.03)
        assert after.pixels.mean() == pytest.approx(0.5, abs=3e-3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "RandomCrop", "size": 0}, "size is 0"),
        ({"type": "RandomCrop", "size": 8, "jitter": (1.2, 0.8)}, "smaller first"),
        ({"type": "RandomCrop", "size": 8, "input_scale": 0.0}, "input_scale is 0"),
        ({"type": "RandomFlip", "horizontal": 1.5}, r"horizontal is 1\.5"),
        ({"type": "ColourJitter", "contrast": -0.1}, "contrast is -0.1"),
        ({"type": "GaussianNoise", "most": 25.0}, r"most is 25"),
        ({"type": "Upscale", "factor": -2.0}, "factor is -2"),
        ({"type": "RandomScale", "low": 2.0, "high": 1.0}, "low first"),
        ({"type": "Resize", "width": 0, "height": 3}, "0 x 3"),
        ({"type": "PadToMultiple", "multiple": 0}, "multiple is 0"),
        ({"type": "PadToMultiple", "fill": (255, 0, 0)}, "three numbers"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(config, words):
    with pytest.raises(PartError, match=words):
        TRANSFORMS.build(config)
