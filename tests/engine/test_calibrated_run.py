"""Claims about corrected counts from the run to one's own pictures, by a method of known numbers.

`Brightness` of the toy plugin counts the same number of cells in every image, far too few of them
after three steps, so that an offset is chosen.
"""

import dataclasses
import json

import numpy as np
import pytest

from cellbench.counting.folder_count import find_trained
from cellbench.counting.trained_counter import load_counter
from cellbench.data.splits import make_split
from cellbench.data.stored_set import open_set
from cellbench.engine.half_precision import keep_in_half
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.verify import verify_record
from cellbench.engine.work_progress import Display
from cellbench.hashes import content_hash
from cellbench.metrics.calibration import choose_calibration


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    store = tmp_path_factory.mktemp("calibrated-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        config, length = "cellbench_toy:methods/brightness.py", ("schedule.validations=1",)
        overrides = ("optimizer.lr=0.37", "data.input_scale=0.25", "data.batch_size=50", *length)
        asked = Request(config, dataset="adi-sim", epochs=3, overrides=overrides, store=str(store))
        yield store, run(asked)


def test_the_offset_is_that_of_the_validation_images_and_the_raw_counts_are_kept(finished):
    record = finished[1].record
    (level,) = {image["raw"] for image in record["images"]}
    stored = open_set("adi-sim")
    validation = make_split(stored, protocol="v1", split=0).val
    truth = [stored.sample(image_id).count for image_id in validation]
    wanted = choose_calibration(truth, np.full(len(truth), level), np.full(len(truth), 150.0**2))
    known = record["calibration"]
    assert known == json.loads(json.dumps(wanted.plain()))
    assert known["kind"] == "offset"
    assert level + known["offset"] == pytest.approx(np.mean(truth))
    assert {image["prediction"] for image in record["images"]} == {level + known["offset"]}
    assert record["selection"]["validation_mae"] == known["mae_left_out"]["offset"]
    assert record["metrics"]["mae"] < 0.5 * record["metrics"]["raw_mae"]


def test_the_record_is_had_again_from_the_weights(finished):
    store, outcome = finished
    assert verify_record(outcome.record_file, store).same


def test_another_correction_than_the_validation_images_ask_for_is_found(finished, tmp_path):
    """Correction, counts and metrics of the forged record agree with each other."""
    store, outcome = finished
    record = json.loads(outcome.record_file.read_text())
    record["calibration"]["offset"] += 5
    for image in record["images"]:
        image["prediction"] += 5
    errors = [image["prediction"] - image["truth"] for image in record["images"]]
    record["metrics"]["mae"] = float(np.abs(errors).mean())
    record["content_hash"] = content_hash(record)
    forged = tmp_path / outcome.record_file.name
    forged.write_text(json.dumps(record))
    assert len(verify_record(forged, store).differing) == len(record["images"])


def test_weights_in_half_precision_have_a_correction_of_their_own(finished, tmp_path):
    _, outcome = finished
    trained = find_trained(str(outcome.folder), None)
    on_a_gpu = {"environment": trained.record["environment"] | {"device": "cuda"}}
    trained = dataclasses.replace(trained, record=trained.record | on_a_gpu)
    record = keep_in_half(trained, tmp_path, Display())
    assert record["environment"]["device"] == "cpu", "they are scored here"
    raw = {image["raw"] for image in record["images"]}
    assert raw != {image["raw"] for image in outcome.record["images"]}, "nothing was rounded"
    # with the offset of the other weights the counts would differ by what was rounded
    for image, before in zip(record["images"], outcome.record["images"], strict=True):
        assert image["prediction"] == pytest.approx(before["prediction"], abs=1e-6)


def test_own_pictures_are_corrected_by_their_area(finished):
    _, outcome = finished
    known = outcome.record["calibration"]
    level = outcome.record["images"][0]["raw"]
    counter = load_counter(find_trained(str(outcome.folder), None), device="cpu")
    pixels = open_set("adi-sim").pixels(outcome.record["images"][0]["id"])
    assert counter.count(pixels).count == pytest.approx(level + known["offset"])
    # the same number of cells in half the area is denser than all that was seen
    assert counter.count(pixels[:75]).count == pytest.approx(level + known["offset"] / 2)
    # twice as wide: half as dense, so that the offset of each half is halved
    wide = np.concatenate([pixels, pixels], axis=1)
    assert counter.count(wide).count == pytest.approx(level + known["offset"])
    assert counter.count(pixels, scale=0.5).count == pytest.approx(level + known["offset"] / 4)
