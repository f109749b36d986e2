"""Claims about the correction of counts, against fits of every set of images but one."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from cellbench.metrics.calibration import FEWEST_IMAGES, KINDS, CountCalibration, choose_calibration
from cellbench.metrics.scores import score
from cellbench.structures import CellSample, Prediction, no_points

AREA = 100.0 * 80.0


def images(seed, number=12, *, scale=1.0, offset=0.0, noise=2.0, areas=None):
    """Truth, counts and areas; the truth is `scale * count + offset * area / AREA` and noise."""
    rng = np.random.default_rng(seed)
    areas = np.full(number, AREA) if areas is None else areas
    counts = rng.uniform(20, 120, number)
    truth = scale * counts + offset * areas / AREA + rng.normal(0, noise, number)
    return truth.clip(0, None), counts, areas


def by_hand(kind, truth, counts, share):
    """Scale and offset by SciPy's solver."""
    if kind == "offset":
        return 1.0, lsq_linear(share[:, None], truth - counts).x[0]
    if kind == "scale":
        return lsq_linear(counts[:, None], truth).x[0], 0.0
    return tuple(lsq_linear(np.stack([counts, share], axis=1), truth).x)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_errors_are_those_of_a_fit_without_the_image(seed, mixed):
    areas = np.random.default_rng(99 + seed).uniform(0.5, 2, 12) * AREA if mixed else None
    truth, counts, areas = images(seed, scale=0.8, offset=6, areas=areas)
    found = choose_calibration(truth, counts, areas)
    assert found.mae_left_out["identity"] == pytest.approx(np.abs(counts - truth).mean())
    share = areas / areas.mean()
    for kind in ("offset", "scale", "line"):
        errors = []
        for left in range(truth.size):
            rest = np.arange(truth.size) != left
            scale, offset = by_hand(kind, truth[rest], counts[rest], share[rest])
            corrected = max(0.0, scale * counts[left] + offset * share[left])
            errors.append(abs(corrected - truth[left]))
        assert found.mae_left_out[kind] == pytest.approx(np.mean(errors))
    if found.kind != "identity":
        wanted = by_hand(found.kind, truth, counts, share)
        assert (found.scale, found.offset) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("kind", "scale", "offset"),
    [("identity", 1, 0), ("offset", 1, 15), ("scale", 1.3, 0), ("line", 0.7, 20)],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_kind_that_made_the_counts_is_chosen(kind, scale, offset, seed):
    truth, counts, areas = images(seed, 40, scale=scale, offset=offset)
    found = choose_calibration(truth, counts, areas)
    assert found.kind == kind
    assert found.scale == pytest.approx(scale, abs=0.05)
    assert found.offset == pytest.approx(offset, abs=4)
    assert found.expected_mae == found.mae_left_out[kind] <= found.mae
    if kind == "identity":
        assert (found.scale, found.offset) == (1.0, 0.0)


def test_a_kind_is_left_for_a_simpler_one_within_a_standard_error_of_the_difference():
    """All kinds of forty sets: none with fewer parameters is within it, and the chosen one is."""
    parameters = dict(zip(KINDS, (0, 1, 1, 2), strict=True))
    chosen = set()
    for seed in range(40):
        truth, counts, areas = images(seed, 15, scale=0.97, offset=3, noise=4)
        errors, share = {"identity": np.abs(counts - truth)}, areas / areas.mean()
        for kind in KINDS[1:]:
            parts = [np.arange(15) != left for left in range(15)]
            fits = [by_hand(kind, truth[p], counts[p], share[p]) for p in parts]
            corrected = [s * c + o for (s, o), c in zip(fits, counts, strict=True)]
            errors[kind] = np.abs(np.clip(corrected, 0, None) - truth)
        best = min(errors, key=lambda kind: errors[kind].mean())

        def clearly_worse(kind, errors=errors, best=best):
            difference = errors[kind] - errors[best]
            return difference.mean() > difference.std(ddof=1) / 15**0.5

        found = choose_calibration(truth, counts, areas)
        assert not clearly_worse(found.kind)
        simpler = [kind for kind in KINDS if parameters[kind] < parameters[found.kind]]
        assert all(map(clearly_worse, simpler))
        chosen.add(found.kind)
    assert len(chosen) >= 3, "the sets are alike, and this test shows little"


def test_one_image_or_too_few_choose_nothing():
    for number in range(FEWEST_IMAGES):
        truth, counts, areas = images(0, number, offset=50, noise=0)
        found = choose_calibration(truth, counts, areas)
        assert found.kind == "identity"
        assert found.mae_left_out == {}
        assert found.expected_mae == (pytest.approx(50) if number else None)
    assert choose_calibration(*images(0, FEWEST_IMAGES, offset=50)).kind == "offset"


def test_counts_that_are_all_zero_have_no_scale_and_no_line():
    found = choose_calibration([10.0] * 6 + [12.0] * 6, np.zeros(12), np.full(12, AREA))
    assert set(found.mae_left_out) == {"identity", "offset"}
    assert (found.kind, found.offset) == ("offset", pytest.approx(11))
    # a blank image is among those that it was chosen on, so that it is given the cells as well
    assert found.correct([0.0], [AREA]) == pytest.approx([11])


def test_a_truth_that_never_varies_has_no_line():
    _, counts, areas = images(3)
    found = choose_calibration(np.full(12, 70.0), counts, areas)
    assert set(found.mae_left_out) == {"identity", "offset", "scale"}
    found = choose_calibration(np.zeros(12), counts, areas)
    assert set(found.mae_left_out) == {"identity", "offset"}
    assert found.offset == pytest.approx(-counts.mean())


def test_counts_that_fall_where_the_truth_rises_have_no_line():
    truth = np.arange(20.0) + 10
    found = choose_calibration(truth, 40 - truth, np.full(20, AREA))
    assert "line" not in found.mae_left_out


@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(where, value):
    given = [array.copy() for array in images(0)]
    given[where][3] = value
    with pytest.raises(ValueError, match="finite"):
        choose_calibration(*given)


def test_arrays_that_do_not_match_and_images_without_an_area_are_refused():
    truth, counts, areas = images(0)
    with pytest.raises(ValueError, match="do not match"):
        choose_calibration(truth, counts[1:], areas)
    with pytest.raises(ValueError, match="without an area"):
        choose_calibration(truth, counts, areas * 0)


def test_a_corrected_count_is_never_below_zero_and_an_identity_changes_nothing():
    counts, areas = np.array([-3.0, 0.0, 2.0, 50.0]), np.full(4, AREA)
    line = CountCalibration("line", 0.5, -10.0, AREA)
    assert line.correct(counts, areas) == pytest.approx([0, 0, 0, 15])
    assert CountCalibration().correct(counts, areas) is counts


def test_the_parts_of_a_picture_add_up_to_the_whole_and_a_blank_one_stays_blank():
    line = CountCalibration("line", 1.1, 8.0, AREA, full_from=20.0)
    parts, areas = np.array([30.0, 60.0, 45.0]), np.array([1.0, 2.0, 1.5]) * AREA
    assert line.correct(parts, areas).sum() == pytest.approx(line.correct(135.0, areas.sum()))
    assert line.correct([0.0, 10.0, 20.0], np.full(3, AREA)) == pytest.approx([0, 15, 30])


def test_validation_images_are_all_given_the_whole_offset():
    areas = np.linspace(0.5, 2, 20) * AREA
    truth, counts, areas = images(1, 20, offset=25, areas=areas)
    found = choose_calibration(truth, counts, areas)
    assert found.kind == "offset"
    assert found.added(counts, areas) == pytest.approx(found.offset * areas / areas.mean())
    assert found.mae_corrected == pytest.approx(
        np.abs(counts + found.offset * areas / areas.mean() - truth).mean()
    )


@pytest.mark.parametrize("kind", ["offset", "line"])
def test_a_map_sums_to_the_corrected_count_and_points_stay(kind):
    rng = np.random.default_rng(0)
    density = rng.random((8, 10), dtype=np.float32)
    points = rng.uniform(0, 80, (5, 2)).astype(np.float32)
    found = Prediction(float(density.sum()), points, np.ones(5, np.float32), density)
    calibration = CountCalibration(kind, 1.2 if kind == "line" else 1.0, -4.0, AREA)
    corrected = calibration.correct_prediction(found, (100, 80))
    assert corrected.count == pytest.approx(calibration.scale * found.count - 4)
    assert corrected.density.sum() == pytest.approx(corrected.count, rel=1e-5)
    assert corrected.density.dtype == np.float32
    assert corrected.points is points
    assert CountCalibration().correct_prediction(found, (100, 80)) is found
    emptied = dataclasses.replace(calibration, offset=-900.0).correct_prediction(found, (100, 80))
    assert (emptied.count, emptied.density.sum()) == (0, 0)


def test_it_goes_through_json_and_what_is_not_known_is_passed_over():
    found = choose_calibration(*images(0, offset=30))
    again = CountCalibration.of(json.loads(json.dumps(found.plain())) | {"later": 1})
    assert again == found
    assert CountCalibration.of(None) == CountCalibration()


def test_raw_counts_stand_beside_the_corrected_ones():
    truth = [CellSample(str(n), no_points(), (10, 10)) for n in range(2)]
    scores = score(truth, [Prediction(1.0), Prediction(3.0)], radius_px=4, raw=[4.0, -1.0])
    assert [row["raw"] for row in scores.images] == [4.0, -1.0]
    assert (scores.metrics["mae"], scores.metrics["raw_mae"]) == (2.0, 2.5)
    assert scores.metrics["raw_bias"] == 1.5
    without = score(truth, [Prediction(1.0), Prediction(3.0)], radius_px=4)
    assert "raw" not in without.images[0]
    assert "raw_mae" not in without.metrics


def test_a_count_that_is_left_as_it_is_has_the_numbers_of_no_correction():
    left = CountCalibration()
    assert (left.kind, left.scale, left.offset) == ("identity", 1.0, 0.0)
    assert left.correct([2.5, 0.0], [9.0, 1.0]).tolist() == [2.5, 0.0]
