"""Forests as arrays answer as scikit-learn does, and refuse what is no forest."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from cellbench_plugins._ops import forests
from cellbench_plugins._ops.forests import grow

GROWN = {"trees": 20, "leaves": 16, "least": 3, "seed": 5, "by": "a test"}


@pytest.fixture(scope="module")
def learned():
    """Rows with a rule and noise, their labels, and new rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 6)).astype(np.float32)
    labels = rows[:, 0] * rows[:, 1] + 0.3 * rng.normal(size=600) > 0
    return rows, labels, rng.normal(size=(900, 6)).astype(np.float32)


def test_it_answers_as_scikit_learn_even_on_a_threshold(learned):
    rows, labels, new = learned
    forest = grow(rows, labels, **GROWN)
    model = ExtraTreesClassifier(20, max_leaf_nodes=16, min_samples_leaf=3, random_state=5)
    model.fit(rows, labels)
    at_root = np.repeat(new[:20], 2, axis=0)
    for place, member in enumerate(model.estimators_):
        column, threshold = member.tree_.feature[0], np.float32(member.tree_.threshold[0])
        at_root[2 * place, column] = threshold
        at_root[2 * place + 1, column] = np.nextafter(threshold, np.float32(np.inf))
    for asked in (new, at_root, rows):
        wanted = model.predict_proba(asked)[:, 1]
        np.testing.assert_allclose(forest.probability(asked), wanted, atol=1e-6)
    forest.check(rows.shape[1])


def test_answers_do_not_depend_on_how_many_rows_are_asked_at_once(learned, monkeypatch):
    rows, labels, new = learned
    forest = grow(rows, labels, **GROWN)
    whole = forest.probability(new)
    monkeypatch.setattr(forests, "_AT_ONCE", 20 * 7)
    assert np.array_equal(forest.probability(new), whole)
    assert forest.probability(new[:0]).shape == (0,)


@pytest.mark.parametrize("truth", [False, True])
def test_where_all_rows_are_alike_every_answer_is_that(learned, truth):
    rows, _, new = learned
    forest = grow(rows, np.full(len(rows), truth), **GROWN)
    assert set(forest.probability(new).tolist()) == {float(truth)}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("left", 0, "leads back"),
        ("right", -3, "leads back"),
        ("right", 31, "leads back"),
        ("feature", 6, "more than 6 features"),
        ("share", np.nan, "outside 0 to 1"),
        ("share", -0.1, "outside 0 to 1"),
    ],
)
def test_what_is_no_forest_is_refused(learned, name, value, reason):
    rows, labels, _ = learned
    forest = grow(rows, labels, **GROWN)
    changed = getattr(forest, name).copy()
    changed[3, 0] = value
    with pytest.raises(ValueError, match=reason):
        replace(forest, **{name: changed}).check(rows.shape[1])
