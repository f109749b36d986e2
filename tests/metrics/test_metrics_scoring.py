"""Claims about the scores that a record holds."""

import json

import numpy as np
import pytest

from cellbench.errors import UserError
from cellbench.metrics.scores import score
from cellbench.structures import CellSample, Prediction, no_points

SIZE = (64, 48)


def sample(points, name="a"):
    return CellSample(name, np.asarray(points, np.float32).reshape(-1, 2), SIZE)


def predict(points, scores=None, count=None):
    points = np.asarray(points, np.float32).reshape(-1, 2)
    scores = np.linspace(0.9, 0.6, len(points)) if scores is None else scores
    return Prediction(
        float(len(points) if count is None else count), points, np.asarray(scores, np.float32)
    )


def test_two_images_by_hand():
    truth = [sample([[10, 10], [30, 30]], "a"), sample([[5, 5]], "b")]
    found = score(truth, [predict([[11, 10]]), predict([[5, 5], [40, 40]])], radius_px=4)
    assert [(r["id"], r["truth"], r["prediction"]) for r in found.images] == [
        ("a", 2, 1.0),
        ("b", 1, 2.0),
    ]
    assert [(r["tp"], r["fp"], r["fn"]) for r in found.images] == [(1, 0, 1), (1, 1, 0)]
    m = found.metrics
    assert (m["images"], m["cells"], m["mae"], m["rmse"], m["bias"]) == (2, 3, 1, 1, 0)
    assert m["mape"] == pytest.approx(75)
    assert (m["precision"], m["recall"], m["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (m["game1"], m["game2"], m["game3"]) == (1, 1, 1)
    assert [d["radius_px"] for d in m["f1_by_radius"]] == [1, 2, 3, 4, 5, 6, 8]
    assert m["nap"] == pytest.approx(np.mean(list(m["nap_by_level"].values())))


def test_a_count_is_never_rounded():
    density = np.full((12, 16), 3.7 / 192, np.float32)
    found = score([sample([[1, 1]])], [Prediction(3.7, density=density)], radius_px=4)
    assert found.images[0]["prediction"] == 3.7
    assert found.metrics["mae"] == pytest.approx(2.7)


def test_without_points_f1_is_null_and_game_needs_a_density():
    density = np.full((12, 16), 1 / 192, np.float32)
    found = score([sample([[1, 1]])], [Prediction(1.0, density=density)], radius_px=4)
    assert found.images[0]["tp"] is found.images[0]["fn"] is None
    for key in ("precision", "recall", "f1", "f1_by_radius", "nap", "nap_by_level"):
        assert found.metrics[key] is None
    assert found.metrics["game3"] == pytest.approx(2 * 63 / 64)
    bare = score([sample([[1, 1]])], [Prediction(1.0)], radius_px=4).metrics
    assert bare["game1"] is None
    assert bare["mae"] == 0


def test_one_image_without_points_makes_the_pooled_scores_null():
    truth = [sample([[1, 1]], "a"), sample([[1, 1]], "b")]
    found = score(truth, [predict([[1, 1]]), Prediction(1.0)], radius_px=4)
    assert found.metrics["f1"] is None
    assert found.images[0]["tp"] == 1
    assert found.images[1]["tp"] is None


def test_points_without_scores_have_f1_but_no_nap():
    found = score([sample([[1, 1]])], [Prediction(1.0, np.ones((1, 2), np.float32))], radius_px=4)
    assert found.metrics["f1"] == 1
    assert found.metrics["nap"] is None


def test_nap_looks_at_the_candidates_where_they_are_given():
    truth = [sample([[10, 10], [30, 30]])]
    kept, every = predict([[10, 10]], [0.9]), predict([[10, 10], [30, 30]], [0.9, 0.3])
    assert score(truth, [kept], radius_px=4).metrics["nap"] == 0.5
    full = score(truth, [kept], radius_px=4, candidates=[every]).metrics
    assert full["nap"] == 1
    assert full["f1"] == pytest.approx(2 / 3)


def test_no_image_at_all():
    found = score([], [], radius_px=4)
    assert found.images == []
    totals = {"images": 0, "cells": 0, "radius_px": 4.0, "empty_images": 0}
    assert {k: v for k, v in found.metrics.items() if v is not None} == totals


@pytest.mark.parametrize("predicted", [[], [[3, 3]]])
def test_all_images_empty(predicted):
    found = score([sample([])] * 2, [predict(predicted)] * 2, radius_px=4).metrics
    assert found["mae"] == len(predicted)
    assert found["mape"] is None
    assert found["r2"] is None
    assert found["empty_images"] == 2
    assert found["f1"] == (0 if predicted else None)
    assert found["nap"] is None


def test_one_image_has_no_limits_of_agreement():
    found = score([sample([[1, 1]])], [predict([[1, 1]])], radius_px=4).metrics
    assert found["agreement_low"] is found["r2"] is None
    assert found["mae"] == 0


def test_everything_is_plain_json():
    rng = np.random.default_rng(0)
    truth = [sample(rng.uniform(0, 48, (n, 2)), str(n)) for n in range(6)]
    predictions = [predict(rng.uniform(0, 48, (n + 1, 2)), count=np.float32(n)) for n in range(6)]
    found = score(truth, predictions, radius_px=4)
    text = json.dumps([found.images, found.metrics], allow_nan=False)
    assert json.loads(text) == [found.images, found.metrics]


@pytest.mark.parametrize(
    "broken",
    [
        Prediction(float("nan")),
        Prediction(float("inf"), no_points()),
        Prediction(1.0, np.full((1, 2), np.nan, np.float32)),
        Prediction(1.0, density=np.full((2, 2), np.inf, np.float32)),
    ],
)
def test_a_diverged_prediction_is_refused_with_the_name_of_its_image(broken):
    with pytest.raises(UserError, match=r"image 'bad'.*diverged"):
        score([sample([], "bad")], [broken], radius_px=4)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="0 predictions"):
        score([sample([])], [], radius_px=4)
