"""Claims about how far methods err on the same images."""

import numpy as np
import pytest

from cellbench.ranking.shared_errors import LEAST_OTHERS, shared_errors


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_hand(signed, methods):
    """The definition, one row at a time."""
    mae = np.abs(signed).mean(axis=1)
    found = []
    for own, method in zip(signed, methods, strict=True):
        others = [
            min((row for row, m in enumerate(methods) if m == other), key=lambda row: mae[row])
            for other in sorted(set(methods) - {method})
        ]
        median = np.median(signed[others], axis=0)
        found.append(np.corrcoef(own, median)[0, 1])
    return found


@pytest.mark.parametrize("count", [4, 5, 6, 9])
def test_it_is_the_correlation_with_the_median_of_the_other_methods(rng, count):
    signed = rng.normal(size=(count, 12)).round(1)  # with ties
    methods = [f"m{index}" for index in range(count)]
    np.testing.assert_allclose(shared_errors(signed, methods), by_hand(signed, methods))


def test_variants_of_a_method_speak_once_and_never_for_themselves(rng):
    signed = rng.normal(size=(9, 20))
    methods = ["a", "a", "a", "a", "a", "b", "c", "d", "e"]
    np.testing.assert_allclose(shared_errors(signed, methods), by_hand(signed, methods))


def test_an_error_of_the_annotation_is_shared_by_all(rng):
    annotation = rng.normal(scale=10, size=50)
    signed = annotation + rng.normal(scale=1, size=(8, 50)) + rng.normal(size=(8, 1))
    assert min(shared_errors(signed, list("abcdefgh"))) > 0.97


def test_errors_of_their_own_are_not_shared(rng):
    signed = rng.normal(scale=5, size=(8, 4000))
    assert max(map(abs, shared_errors(signed, list("abcdefgh")))) < 0.1


@pytest.mark.parametrize(("rows", "images"), [(0, 10), (1, 10), (LEAST_OTHERS, 10), (9, 3), (9, 0)])
def test_too_few_methods_or_images_say_nothing(rng, rows, images):
    signed = rng.normal(size=(rows, images))
    assert shared_errors(signed, [str(row) for row in range(rows)]) == [None] * rows


def test_a_missing_image_says_nothing(rng):
    signed = rng.normal(size=(6, 10))
    signed[2, 3] = np.nan
    assert shared_errors(signed, list("abcdef")) == [None] * 6


def test_a_row_that_errs_alike_on_all_images_has_none(rng):
    signed = rng.normal(size=(6, 10))
    signed[2] = 0.1
    found = shared_errors(signed, list("abcdef"))
    assert found[2] is None
    assert None not in found[:2] + found[3:]
