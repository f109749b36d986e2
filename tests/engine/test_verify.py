"""Claims about `cellbench verify`, on a tiny run of the simulated ADI."""

import dataclasses
import shutil

import pytest
from record_samples import spoil

from cellbench.engine import scoring
from cellbench.engine.evaluation import infer
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.verify import compare, verify_record
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.records.point_lists import read_points
from cellbench.records.record_file import read_record
from cellbench.records.trained_runs import weights_match_record

SMALL = (
    "model.backbone.strides=[2, 4]",
    "model.backbone.weights=None",
    "model.backbone.frozen_stages=0",
    "data.batch_size=2",
    "data.input_scale=0.5",
    "data.augment.0.size=64",
    "schedule.validations=2",
)


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    store = tmp_path_factory.mktemp("verify-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        asked = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", epochs=2)
        return store, run(dataclasses.replace(asked, overrides=SMALL, store=str(store)))


@pytest.fixture
def copy(finished, bench):
    """The store of the finished run, to be spoiled."""
    store, outcome = finished
    shutil.copytree(store, bench / "store")
    return bench / "store", bench / "store" / outcome.record_file.relative_to(store)


def test_the_kept_weights_give_the_record_again(copy):
    store, path = copy
    before = sorted(p.relative_to(store) for p in store.rglob("*"))
    said = []
    found = verify_record(path, store, display=Display(say=said.append))
    assert found.same
    assert found.images == 2
    assert found.mae == pytest.approx(read_record(path)["metrics"]["mae"])
    assert found.weights.name == "best.safetensors"
    assert said == [f"Scoring 2 test images with {found.weights}."]
    assert sorted(p.relative_to(store) for p in store.rglob("*")) == before


@pytest.mark.parametrize("folded", [True, False])
def test_batch_norms_are_folded_where_they_were_when_the_record_was_made(copy, folded, monkeypatch):
    store, path = copy
    assert read_record(path)["environment"]["batch_norms"] == "folded"
    if not folded:  # as records were before norms were folded
        spoil(path, lambda record: record["environment"].pop("batch_norms"))
    seen = []

    def watched(*args, fold, **options):
        seen.append(fold)
        return infer(*args, fold=fold, **options)

    monkeypatch.setattr(scoring, "infer", watched)
    assert verify_record(path, store).same
    assert seen == [folded]


@pytest.mark.slow
def test_without_weights_it_says_so_and_trains_again(copy):
    store, path = copy
    shutil.rmtree(store / "runs")
    said = []
    found = verify_record(path, store, display=Display(say=said.append))
    assert found.same
    assert found.weights is None
    assert said[0].startswith("Its weights are gone from ")
    assert "training again: 4 steps" in said[0]
    assert not (store / "runs").exists()


def test_weights_of_a_training_of_another_length_are_not_the_records(copy):
    store, path = copy
    (weights,) = store.rglob("best.safetensors")
    record = read_record(path)
    assert weights_match_record(weights, record)
    (weights.parent / "plan.json").write_text('{"iterations": 5}')
    assert not weights_match_record(weights, record)
    (weights.parent / "plan.json").write_text('{"iterations": 4}')
    assert weights_match_record(weights, record)


def test_a_forged_count_is_named_with_both_values(copy):
    store, path = copy
    honest = read_record(path)["images"][0]
    spoil(path, lambda r: r["images"][0].update(prediction=honest["truth"]))
    found = verify_record(path, store)
    assert found.differing == [honest["id"]]
    now = f"prediction {honest['truth']} is now {honest['prediction']}"
    assert any(now in sentence for sentence in found.differences)


def test_a_record_of_other_data_cannot_be_compared(copy):
    store, path = copy
    spoil(path, lambda r: r.update(manifest_hash="0" * 64))
    with pytest.raises(UserError, match="another revision of adi-sim"):
        verify_record(path, store)


def test_a_config_that_is_not_what_was_hashed_is_refused(copy):
    store, path = copy
    spoil(path, lambda r: r["config"]["optimizer"].update(lr=1.0))
    with pytest.raises(UserError, match="does not have the hash"):
        verify_record(path, store)
    spoil(path, lambda r: r["config"].pop("optimizer"))
    with pytest.raises(UserError, match="cannot be read by this cellbench"):
        verify_record(path, store)


def test_pretrained_weights_that_are_not_here_are_named(copy):
    store, path = copy
    spoil(path, lambda r: r["weights"].update(sha256="a" * 64, source="vgg16"))
    with pytest.raises(UserError, match=r"aaaa.*put that file into the weights folder"):
        verify_record(path, store)


def test_points_images_and_metrics_are_compared_one_by_one(finished):
    _, outcome = finished
    record = outcome.record
    points = read_points(outcome.record_file, record)
    images, metrics = record["images"], record["metrics"]
    assert compare(record, points, images, metrics, points) == ([], [])
    first = images[0]["id"]
    moved = points | {first: (points[first][0] + 3, points[first][1])}
    if len(points[first][0]):
        _, told = compare(record, points, images, metrics, moved)
        assert told == [f"Image {first}: points moved by up to 3.00 px."]
    differing, told = compare(record, points, images[1:], metrics, points)
    assert (differing, told) == ([first], [f"Image {first} was not scored now."])
    _, told = compare(record, points, images, metrics | {"f1": 2.0}, points)
    assert told == [f"f1 {metrics['f1']} is now 2.0."]


@pytest.mark.slow
def test_the_command_ends_in_0_or_1(command, copy):
    store, path = copy
    done = command("verify", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Same: {path.name} scored again gives what it says for all 2 images" in done.stdout
    by_id = command("verify", read_record(path)["run_id"], "--store", str(store))
    assert by_id.returncode == 0
    path.write_text(path.read_text().replace('"prediction": ', '"prediction": 7', 1))
    done = command("verify", str(path))
    assert done.returncode == 1
    assert "its hash does not fit" in done.stdout
    assert "1 of 2 images" in done.stdout


@pytest.mark.parametrize(
    ("argument", "words"),
    [("nothing.json", "no record 'nothing.json'"), ("0" * 16, "no record"), ("cut", "cut off")],
)
def test_a_mistake_is_one_sentence(command, bench, argument, words):
    (bench / "cut").write_text('{"schema": 1,')
    done = command("verify", argument)
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert words in done.stderr
