"""Claims about exposure, noise and blank fields."""

import numpy as np
import pytest

from cellbench.data.contracts import Picture
from cellbench.errors import PartError
from cellbench.registry import TRANSFORMS


def drawn(config, picture, seed):
    return TRANSFORMS.build(config)(picture, np.random.default_rng(seed))


def cells(level=0.1, contrast=0.3, edge=48):
    """Two discs on a ground, of 32-bit greys."""
    y, x = np.mgrid[:edge, :edge]
    near = np.minimum(np.hypot(x - 12, y - 12), np.hypot(x - 34, y - 30))
    grey = level + contrast * (near < 5)
    points = np.array([[12.5, 12.5], [34.5, 30.5]], np.float32)
    return Picture(np.repeat(grey[..., None], 3, 2).astype(np.float32), points)


def flat(value, edge=96):
    return Picture(np.full((edge, edge, 3), value, np.float32), np.zeros((0, 2), np.float32))


def test_exposures_keep_the_order_of_greys_and_reach_far():
    before = cells()
    contrasts, levels = [], []
    for seed in range(200):
        after = drawn({"type": "ExposureJitter"}, before, seed).pixels[..., 0]
        contrasts.append(float(after[12, 12] - after[0, 0]))
        levels.append(float(after[0, 0]))
        assert after[12, 12] == after[30, 34]
    assert min(contrasts) > 0.05
    assert max(contrasts) > 3 * min(contrasts)
    assert max(levels) > 0.4


def test_a_gain_burns_nothing_out():
    ramp = np.repeat(np.linspace(0, 0.8, 4000).reshape(40, 100, 1), 3, 2).astype(np.float32)
    before = Picture(ramp, np.zeros((0, 2), np.float32))
    config = {"type": "ExposureJitter", "gain": (5.0, 5.0), "gamma": (1.0, 1.0), "level": 0.0}
    np.testing.assert_allclose(drawn(config, before, 0).pixels, ramp / 0.8, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.2, 0.9])
def test_noise_of_a_blank_field_has_the_drawn_variance(value):
    config = {"type": "SensorNoise", "blur_px": 0.0, "read": 0.05, "photons": 0.05, "chance": 1.0}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rng.random()
        _, read, photons = rng.uniform(0, [0.0, 0.05, 0.05])
        after = drawn(config, flat(value), seed).pixels
        if value == 0.2:  # at the borders of the range half of it is cut off
            assert after.std() == pytest.approx(np.sqrt(read**2 + photons**2 * value), rel=0.05)
        assert (after[..., 0] == after[..., 1]).all()


def test_noise_hides_no_annotated_cell_and_no_blank_field_is_spared():
    config = {"type": "SensorNoise", "blur_px": 0.0, "read": 0.2, "photons": 0.2, "chance": 1.0}
    for seed in range(20):
        off = drawn(config, cells(contrast=0.2), seed).pixels - cells(contrast=0.2).pixels
        assert off.std() < 0.1 * 0.2 * 1.05
    assert max(drawn(config, flat(0.5), seed).pixels.std() for seed in range(20)) > 0.1


def test_noise_of_a_coloured_picture_differs_by_channel():
    before = cells()
    before.pixels[..., 0] *= 0.5
    after = drawn({"type": "SensorNoise", "chance": 1.0, "blur_px": 0.0}, before, 1).pixels
    off = after - before.pixels
    assert abs(np.corrcoef(off[..., 0].ravel(), off[..., 1].ravel())[0, 1]) < 0.1


def test_no_chance_is_no_change():
    before = cells()
    np.testing.assert_array_equal(
        drawn({"type": "SensorNoise", "chance": 0.0}, before, 2).pixels, before.pixels
    )


def test_so_many_fields_are_blank_and_the_others_are_left_alone():
    before, blank = cells(), 0
    for seed in range(400):
        after = drawn({"type": "BlankField", "share": 0.25, "slope": 0.1}, before, seed)
        assert after.size == before.size
        if after is before:
            continue
        blank += 1
        assert after.points.shape == (0, 2)
        assert np.ptp(after.pixels) <= 0.1 * np.sqrt(2)
    assert 70 <= blank <= 130


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "ExposureJitter", "gain": (2.0, 0.5)}, "gain is .*smaller first"),
        ({"type": "ExposureJitter", "gamma": (0.0, 1.0)}, "gamma is .*positive"),
        ({"type": "ExposureJitter", "level": 2.0}, "level is 2"),
        ({"type": "SensorNoise", "blur_px": -1.0}, "blur_px is -1"),
        ({"type": "SensorNoise", "read": 3.0}, "read is 3"),
        ({"type": "BlankField", "share": 1.5}, r"share is 1\.5"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(config, words):
    with pytest.raises(PartError, match=words):
        TRANSFORMS.build(config)
