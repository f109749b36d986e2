"""A config holds no number that no run can have: one sentence says what came and what may."""

import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from cellbench.annotations import describe, fits
from cellbench.config.compose import resolve
from cellbench.config.schema import SECTIONS, Count, Decay, Positive
from cellbench.config.sources import find_config
from cellbench.errors import UserError

INFINITE = "1e999"
WRONG = [
    ("optimizer.lr", ["-1", "0", INFINITE, "nan"], "above 0"),
    ("optimizer.trunk_lr", ["-1e-4", INFINITE], "at least 0"),
    ("optimizer.weight_decay", ["-0.1", INFINITE], "at least 0"),
    ("optimizer.clip_norm", ["-1", "0", INFINITE], "above 0"),
    ("optimizer.momentum", ["-0.1", "1", "1.5"], "at least 0 and below 1"),
    ("schedule.warmup", ["-0.1", "1.1", INFINITE], "at least 0 and at most 1"),
    ("schedule.final_lr", ["-0.1", "7"], "at least 0 and at most 1"),
    ("schedule.ema", ["7", "1", "-0.5"], "at least 0 and below 1"),
    ("schedule.validations", ["0", "-3", "1000001"], "a whole number of at least 1"),
    ("schedule.first_validation", ["-0.1", "2"], "at least 0 and at most 1"),
    ("schedule.budget_s", ["0", "-5", INFINITE], "above 0"),
    ("data.radius_px", ["0", "-4", INFINITE], "above 0"),
    ("data.epochs", ["0", "-1", "1" + "0" * 30], "a whole number of at least 1"),
    ("data.batch_size", ["0", "-16", "1000000"], "at least 1 and at most 65536"),
    ("data.crops_per_image", ["0", "-1"], "a whole number of at least 1"),
    ("data.input_scale", ["0", "-1.5", "1000", INFINITE], "above 0 and at most 100"),
]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [(key, value, allowed) for key, values, allowed in WRONG for value in values],
)
def test_a_number_outside_its_range_is_one_sentence(key, value, allowed):
    with pytest.raises(UserError) as caught:
        resolve("configs/dla_adi.py", overrides=[f"{key}={value}"])
    said = str(caught.value)
    assert said.startswith(f"{key}: ")
    assert "\n" not in said
    assert len(said) < 200
    if value != "nan":  # is no number to `--set`, but a text
        assert allowed in said


def test_every_number_of_the_schema_has_limits_and_a_wrong_example():
    limited = set()
    for section, kind in SECTIONS.items():
        for name, hint in get_type_hints(kind, include_extras=True).items():
            choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
            assert not {int, float} & set(choices), f"{section}.{name} has no limit"
            if any(get_origin(choice) is Annotated for choice in choices):
                limited.add(f"{section}.{name}")
    assert limited == {key for key, _, _ in WRONG}


def test_a_config_file_is_checked_as_an_override_is(tmp_path):
    own = tmp_path / "own.py"
    for text, said in (
        ("schedule = dict(warmup=float('nan'))", "schedule.warmup: "),
        ("optimizer = dict(lr=float('inf'))", "optimizer.lr: "),
        ("recipe = 0", "recipe: a whole number of at least 1"),
        ("recipe = True", "recipe: a whole number of at least 1"),
        ("model = dict(matcher=dict(k=10**5000))", "model.matcher.k: a finite number of at most"),
        ("model = dict(matcher=dict(k=float('nan')))", "model.matcher.k: a finite number"),
    ):
        own.write_text(f"_base_ = {str(find_config('dla_adi'))!r}\n{text}\n")
        with pytest.raises(UserError) as caught:
            resolve(own)
        assert str(caught.value).startswith(said)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Decay, "a number of at least 0 and below 1"),
        (Count, "a whole number of at least 1 and at most 1000000"),
        (Positive | None, "a number above 0 or None"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (Sequence[Mapping[str, Any]], "a list of dicts"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Path, "Path"),
    ],
)
def test_an_annotation_in_words(annotation, words):
    assert describe(annotation) == words


def test_what_fits_an_annotation_is_that_and_nothing_that_could_be_turned_into_it():
    assert fits(0, Decay)
    assert not fits(1, Decay)
    assert not fits(math.nan, float)
    assert not fits(-math.inf, float)
    assert not fits("1", int)
    assert not fits(True, float)
    assert not fits(2.0, Count)
    assert not fits([1, 2], tuple[int, ...])
    assert fits((1, 2), Sequence[int])


def test_an_annotation_that_cannot_be_checked_is_fitted_by_all():
    assert fits(5, "NotEvaluated")
    assert fits(5, Literal[[]])


@pytest.mark.parametrize("key", ["optimizer.trunk_lr", "schedule.ema", "optimizer.clip_norm"])
def test_none_stays_allowed_where_it_was(key):
    section, name = key.split(".")
    config = resolve("dla_adi", overrides=[f"{key}=None"])
    assert getattr(getattr(config, section), name) is None
