"""Claims about which weights are kept, and on which images, by a method with known numbers.

`Brightness` of the toy plugin counts the same number of cells in every image, and each step raises
that number by the learning rate.
"""

import dataclasses

import numpy as np
import pytest
from safetensors.torch import load_file

from cellbench.counting.trained_counter import load_counter
from cellbench.data.stored_set import open_set
from cellbench.engine import run as engine_run
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.training_state import Training
from cellbench.errors import RunError
from cellbench.models.preprocess import Preprocessor
from cellbench.records.trained_runs import find_trained

VALIDATE = Training.validate
CONFIG = "cellbench_toy:methods/brightness.py"


@pytest.fixture
def trained(bench):
    def train(*overrides):
        asked = Request(CONFIG, dataset="adi-sim", protocol="smoke", epochs=20)
        return run(dataclasses.replace(asked, overrides=("data.input_scale=1.0", *overrides)))

    return train


def kept_level(outcome):
    return float(load_file(outcome.folder / "best.safetensors")["level"])


def counts_of(record):
    return {image["prediction"] for image in record["images"]}


def test_the_weights_of_the_least_validation_error_are_kept_and_scored(trained):
    """At 25 cells a step the count passes the truth, some 150 cells, and goes on to 500."""
    outcome = trained("optimizer.lr=25")
    errors = {int(p["step"]): p["validation_mae"] for p in outcome.record["curve"]}
    best = min(errors, key=errors.__getitem__)
    assert 2 == min(errors) < best < max(errors) == 20, "the least error is at an end"
    assert outcome.record["selection"]["step"] == best
    assert outcome.record["selection"]["validation_mae"] == errors[best]
    assert kept_level(outcome) == 25 * best
    assert counts_of(outcome.record) == {25.0 * best}


def test_the_average_of_the_weights_is_validated_saved_and_scored(trained):
    """Below the truth of every image the error falls by as much as the average rises."""
    averages, average = {0: 0.0}, 0.0
    for step in range(1, 21):
        decay = min(0.9, step / (9 + step))
        average = decay * average + (1 - decay) * 2.0 * step
        averages[step] = average
    outcome = trained("schedule.ema=0.9")
    curve = [(int(p["step"]), p["validation_mae"]) for p in outcome.record["curve"]]
    assert len(curve) == 10
    for step, error in curve[1:]:
        rise = averages[step] - averages[curve[0][0]]
        assert curve[0][1] - error == pytest.approx(rise, abs=1e-3)
    assert kept_level(outcome) == pytest.approx(averages[20], abs=1e-3)
    assert min(counts_of(outcome.record)) == pytest.approx(averages[20], abs=1e-3)
    assert len(counts_of(outcome.record)) == 1


def test_what_prepares_an_image_does_so_for_validation_scoring_and_counting(trained):
    outcome = trained("data.prepare=[{'type': 'Negative'}]", "model.gain=100")
    record = outcome.record
    stored = open_set("adi-sim")
    level = kept_level(outcome)
    normalise = Preprocessor(size_multiple=1, channels_last=False)

    def expected(image_id):
        negative = 255 - stored.pixels(image_id)
        images = normalise.images([negative], scale=1.0, image_ids=[image_id])
        return level + 100 * float(images.pixels.mean())

    wanted = [expected(image["id"]) for image in record["images"]]
    assert np.ptp(wanted) > 1, "the images are alike, and this test shows nothing"
    found = [image["prediction"] for image in record["images"]]
    assert found == pytest.approx(wanted, abs=1e-2)
    counter = load_counter(find_trained(str(outcome.folder), None), device="cpu")
    for image in record["images"]:
        alone = counter.count(stored.pixels(image["id"])).count
        assert alone == pytest.approx(image["prediction"], abs=1e-2)


def test_a_validation_that_is_no_number_is_passed_by_the_first_that_is(trained, monkeypatch):
    """Averages of batch norms may be of no use at the first looks."""
    looks = []

    def validate(training):
        found = VALIDATE(training)
        looks.append(found)
        return dataclasses.replace(found, mae=float("nan")) if len(looks) < 3 else found

    monkeypatch.setattr(Training, "validate", validate)
    outcome = trained("optimizer.lr=2")
    curve = outcome.record["curve"]
    assert ["validation_mae" in point for point in curve] == [False, False, *[True] * 8]
    assert outcome.record["selection"]["step"] == 20, "the last look is the best one"
    assert outcome.record["selection"]["validation_mae"] == looks[-1].mae


@pytest.mark.parametrize("no_test", [False, True])
def test_without_any_validation_that_is_a_number_no_test_image_is_read(bench, monkeypatch, no_test):
    def validate(training):
        return dataclasses.replace(VALIDATE(training), mae=float("nan"))

    monkeypatch.setattr(Training, "validate", validate)
    monkeypatch.setattr(engine_run, "score_test", lambda *args, **named: pytest.fail("was read"))
    asked = Request(CONFIG, dataset="adi-sim", protocol="smoke", epochs=2, no_test=no_test)
    with pytest.raises(RunError, match="in each of its validations"):
        run(dataclasses.replace(asked, overrides=("data.input_scale=1.0",)))
