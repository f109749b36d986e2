"""Claims about models that are kept by name, in single and half precision."""

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from record_samples import sample_images, sample_record

from cellbench.cli.main import main
from cellbench.counting.trained_counter import load_counter
from cellbench.data.stored_set import open_set
from cellbench.engine.half_precision import keep_in_half
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.files.writing import write_atomically
from cellbench.records import kept_models
from cellbench.records.expected_error import cross_validated_error
from cellbench.records.kept_models import find_model, is_shipped, keep_model
from cellbench.records.record_file import write_record
from cellbench.records.trained_runs import find_trained

SMALL = (
    "data.batch_size=2", "data.input_scale=0.5", "data.augment.0.size=32",
    "schedule.validations=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        store = tmp_path_factory.mktemp("kept-store")
        asked = Request(
            "methods/mcnn.py", dataset="adi-sim", protocol="smoke", epochs=1, overrides=SMALL,
            store=str(store),
        )  # fmt: skip
        return run(asked)


@pytest.fixture
def models(bench, tmp_path, monkeypatch):
    """Empty folders of models, the user's and those that are shipped."""
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    monkeypatch.setattr(kept_models, "models_folder", lambda: own)
    monkeypatch.setattr(kept_models, "_SHIPPED", shipped)
    return own, shipped


def test_a_kept_run_is_found_by_its_name_and_counts_as_the_run(finished, models):
    trained = find_trained(str(finished.folder), None)
    keep_model(trained.record_file, trained.weights, "mine")
    kept = find_trained("mine", None)
    assert kept.record == finished.record
    assert kept.weights.parent == models[0] / "mine"
    pixels = open_set("adi-sim").pixels(finished.record["images"][0]["id"])
    counts = [load_counter(one, device="cpu").count(pixels).count for one in (trained, kept)]
    assert counts[0] == counts[1]


def test_half_precision_takes_half_the_place_and_has_scores_of_its_own(finished, models, capsys):
    main(["models", "add", str(finished.folder), "--name", "half", "--half"])
    assert "Test MAE in half precision" in capsys.readouterr().out
    whole, half = find_trained(str(finished.folder), None), find_trained("half", None)
    sizes = [run.weights.stat().st_size for run in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    kinds = {v.dtype for v in safetensors.torch.load_file(half.weights).values()}
    assert torch.float32 not in kinds
    assert half.weights_sha256 != whole.weights_sha256
    assert half.record["run_id"] == whole.record["run_id"]
    counter = load_counter(half, device="cpu")
    stored = open_set("adi-sim")
    for image in half.record["images"]:
        found = counter.count(stored.pixels(image["id"])).count
        assert found == pytest.approx(image["prediction"], abs=2e-3 * max(1, abs(found)))
    assert half.record["metrics"]["mae"] == pytest.approx(whole.record["metrics"]["mae"], rel=0.02)


def test_a_recommendation_goes_with_its_model_in_half_precision_too(finished, models):
    place = finished.folder / "recommendation.json"
    results = [{"state": "recommended", "error": {"mae": 7.25, "low": 5.5, "high": 9.5}}]
    place.write_text(json.dumps({"results": results}))
    try:
        main(["models", "add", str(finished.folder), "--name", "whole"])
        main(["models", "add", str(finished.folder), "--name", "half", "--half"])
    finally:
        place.unlink()
    whole, half = models[0] / "whole", models[0] / "half"
    assert {file.name for file in half.iterdir()} == {file.name for file in whole.iterdir()}
    assert cross_validated_error(half) == (7.25, 5.5, 9.5)
    main(["models", "add", str(finished.folder), "--name", "half", "--half", "--force"])
    assert cross_validated_error(half) is None


def test_a_kept_model_with_a_correction_for_other_pictures_is_not_scored_as_trained_on_them(
    finished, models, tmp_path
):
    trained = find_trained(str(finished.folder), None)
    corrected = replace(trained, record=trained.record | {"kept_model": {"name": "mine"}})
    with pytest.raises(UserError, match=r"correction of counts for adi-sim.*without --half"):
        keep_in_half(corrected, tmp_path, Display())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_single_precision_in_the_place_of_the_half_are_refused(finished, models):
    main(["models", "add", str(finished.folder), "--name", "half", "--half"])
    shutil.copy(finished.folder / "best.safetensors", models[0] / "half" / "best.safetensors")
    with pytest.raises(UserError, match="other weights than those that its record scored"):
        load_counter(find_trained("half", None), device="cpu")


def test_the_users_own_model_takes_the_place_of_a_shipped_one(finished, models, capsys):
    trained = find_trained(str(finished.folder), None)
    keep_model(trained.record_file, trained.weights, "mine")
    shutil.copytree(models[0] / "mine", models[1] / "mine")
    shutil.copytree(models[0] / "mine", models[1] / "other")
    assert find_model("mine") == models[0] / "mine"
    assert find_model("other") == models[1] / "other"
    (models[1] / "other" / "record.json").write_text("{")
    main(["models", "list"])
    shown = capsys.readouterr()
    assert "mine" in shown.out
    assert "other" not in shown.out
    assert "left out" in shown.err


def test_a_name_is_taken_once_and_replaced_when_asked(finished, models):
    trained = find_trained(str(finished.folder), None)
    folder = keep_model(trained.record_file, trained.weights, "mine")
    with pytest.raises(UserError, match="add --force to replace it"):
        keep_model(trained.record_file, trained.weights, "mine")
    (folder / "best.safetensors").write_bytes(b"")
    keep_model(trained.record_file, trained.weights, "mine", force=True)
    assert (folder / "best.safetensors").stat().st_size > 0
    assert json.loads((folder / "record.json").read_text())["run_id"] == finished.record["run_id"]


def test_a_model_that_knows_all_pictures_is_listed_with_the_error_of_its_folds(
    models, tmp_path, capsys
):
    """The images of its record are those that it was trained on: their error is no test MAE."""
    record = write_record(tmp_path, sample_record(protocol="everything", images=sample_images(8)))
    weights = tmp_path / "run" / "best.safetensors"
    write_atomically(weights, b"weights")
    keep_model(record, weights, "alone")
    results = [{"state": "recommended", "error": {"mae": 7.25, "low": 5.5, "high": 9.5}}]
    weights.with_name("recommendation.json").write_text(json.dumps({"results": results}))
    told = keep_model(record, weights, "told")
    main(["models", "list"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    shown = {line[0]: line[3:5] for line in lines}
    assert (shown["told"], shown["alone"]) == (["7.25", "5.5–9.5"], ["-", "-"])
    assert cross_validated_error(told) == (7.25, 5.5, 9.5)
    weights.with_name("recommendation.json").unlink()
    assert cross_validated_error(keep_model(record, weights, "told", force=True)) is None


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", "con:", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(finished, models, name):
    trained = find_trained(str(finished.folder), None)
    with pytest.raises(UserError, match="cannot name a model"):
        keep_model(trained.record_file, trained.weights, name)
    assert not models[0].exists()


def test_an_unknown_name_lists_where_models_are(models):
    with pytest.raises(UserError, match="cellbench models list"):
        find_trained("nobody", None)


def test_no_model_takes_the_place_of_a_shipped_one_unasked(finished, models):
    own, shipped = models
    (shipped / "nuclei-unet").mkdir(parents=True)
    trained = find_trained(str(finished.folder), None)
    with pytest.raises(UserError, match="comes with cellbench; keep yours under another --name"):
        keep_model(trained.record_file, trained.weights, "nuclei-unet")
    assert not own.exists()
    keep_model(trained.record_file, trained.weights, "nuclei-unet", force=True)
    assert find_model("nuclei-unet") == own / "nuclei-unet"
    assert not is_shipped("nuclei-unet")
