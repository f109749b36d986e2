"""Claims about a record that is had again by training and by weights, with the toy counter.

`Brightness` counts the same number of cells in every image, and each step raises it by the rate.
"""

import dataclasses
import re
import shutil

import pytest
from record_samples import spoil

from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.verify import compare, verify_record
from cellbench.engine.work_progress import Display
from cellbench.errors import UserError
from cellbench.records.record_file import read_record

ASKED = Request(
    "cellbench_toy:methods/brightness.py", dataset="adi-sim", protocol="smoke", epochs=3,
    overrides=("optimizer.lr=5", "data.input_scale=0.25", "schedule.validations=2"),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    store = tmp_path_factory.mktemp("verify-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        return store, run(dataclasses.replace(ASKED, store=str(store)))


@pytest.fixture
def copy(finished, bench):
    """The store of the finished run and its record, to be spoiled."""
    store, outcome = finished
    shutil.copytree(store, bench / "store")
    return bench / "store", bench / "store" / outcome.record_file.relative_to(store)


def files(store):
    return {path.relative_to(store): path.stat().st_mtime_ns for path in store.rglob("*")}


def verified(path, store, **options):
    said = []
    return verify_record(path, store, display=Display(say=said.append), **options), said


def test_the_kept_weights_are_scored_and_nothing_is_written(copy):
    store, path = copy
    before, record = files(store), read_record(path)
    found, said = verified(path, store)
    assert found.same
    assert (found.images, found.mae) == (2, record["metrics"]["mae"])
    assert (found.differing, found.differences, found.circumstances) == ([], [], [])
    assert found.weights == next(store.rglob("best.safetensors"))
    assert said == [f"Scoring 2 test images with {found.weights}."]
    assert files(store) == before


@pytest.mark.parametrize("asked", [True, False])
def test_it_is_trained_again_as_asked_or_where_the_weights_are_gone(copy, asked):
    store, path = copy
    if not asked:
        shutil.rmtree(store / "runs")
    before, steps = files(store), read_record(path)["iterations"]
    found, said = verified(path, store, train=asked)
    assert found.same
    assert found.weights is None
    why = "Training again as asked: " if asked else "Its weights are gone from .*; training again: "
    took = rf"{steps} steps, which took \d+ s when it was recorded\."
    assert re.fullmatch(why + took, said[0])
    assert files(store) == before


def test_a_record_that_does_not_state_how_long_it_took_is_trained_again_all_the_same(copy):
    store, path = copy
    spoil(path, lambda record: record["timing"].pop("train_s"))
    _, said = verified(path, store, train=True)
    assert said[0] == f"Training again as asked: {read_record(path)['iterations']} steps."


def test_a_run_of_a_budget_is_trained_again_for_its_own_number_of_steps(bench, monkeypatch):
    for name, value in {"MEASURING": 1000.0, "FEWEST_STEPS": 1}.items():
        monkeypatch.setattr(f"cellbench.engine.budget.{name}", value)
    first = run(dataclasses.replace(ASKED, epochs=None, budget_s=4.0, store=str(bench / "store")))
    monkeypatch.setattr("cellbench.engine.budget._measure", lambda *given: pytest.fail("measured"))
    found, said = verified(first.record_file, bench / "store", train=True)
    assert found.same
    assert f"{first.record['iterations']} steps" in said[0]


def test_another_count_another_image_and_another_machine_are_named(copy):
    store, path = copy
    first, second = read_record(path)["images"]

    def forge(record):
        record["images"][0]["prediction"] += 1
        record["images"][1]["id"] = "none"
        record["environment"]["torch"] = "1.0"
        del record["environment"]["threads"]

    spoil(path, forge)
    found, _ = verified(path, store)
    assert not found.same
    count = first["prediction"]
    assert found.differing == [first["id"], "none", second["id"]]
    assert found.differences == [
        f"Image {first['id']}: prediction {count + 1} is now {count}.",
        "Image none was not scored now.",
        f"Image {second['id']} is not in the record.",
    ]
    assert len(found.circumstances) == 1
    assert found.circumstances[0].startswith("torch was 1.0 and is ")


def test_a_record_that_was_changed_by_hand_is_named_as_such_before_all_else(copy):
    store, path = copy
    changed = "The record was changed after it was written: its hash does not fit."
    path.write_text(path.read_text().replace('"method_title": "', '"method_title": "The ', 1))
    found, _ = verified(path, store)
    assert found.differences == [changed]
    path.write_text(path.read_text().replace('"prediction": ', '"prediction": 7', 1))
    found, _ = verified(path, store)
    assert found.differences[0] == changed
    assert found.differences[1].startswith(f"Image {found.differing[0]}: prediction 7")


def test_a_set_that_is_not_here_is_not_replaced_by_its_simulator(copy, monkeypatch, tmp_path):
    store, path = copy
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "empty"))
    spoil(path, lambda record: record.update(dataset="adi"))
    with pytest.raises(UserError) as caught:
        verified(path, store)
    assert "another revision" not in str(caught.value)
    assert not list((tmp_path / "empty").rglob("*.png"))


def test_weights_of_another_hash_are_scored_only_on_trust(copy):
    store, path = copy
    spoil(path, lambda record: record["scored_weights"].update(sha256="0" * 64))
    with pytest.raises(UserError, match="holds other weights than those that its record scored"):
        verified(path, store)
    found, _ = verified(path, store, trust_weights=True)
    assert found.same


POINTS = ([[1.0, 2.0], [3.0, 4.0]], [0.5, 0.5])


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (([[1.0, 2.04], [3.0, 4.0]], [0.5, 0.5]), None),
        (([[1.0, 2.0], [3.0, 1.5]], [0.5, 0.5]), "Image a: points moved by up to 2.50 px."),
        (([[1.0, 2.0]], [0.5]), "Image a: 2 points are now 1."),
        (([], []), "Image a: 2 points are now 0."),
    ],
)
def test_points_that_moved_or_are_gone_are_told(points, sentence):
    row = {"id": "a", "truth": 2, "prediction": 2.0}
    record = {"images": [row], "metrics": {"mae": 0.0}}
    told = compare(record, {"a": POINTS}, [dict(row)], {"mae": 0.0}, {"a": points})
    assert told == (([], []) if sentence is None else (["a"], [sentence]))


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [(10.0, 10.0005, False), (10.0, 10.01, True), (1e6, 1e6 + 90, False), (1e6, 1e6 + 110, True),
     (None, 1.0, True), (1.0, None, True), (None, None, False)],
)  # fmt: skip
def test_numbers_are_the_same_where_no_digit_that_is_shown_differs(before, now, differs):
    row = {"id": "a", "truth": 2, "prediction": 2.0}
    record = {"images": [row], "metrics": {"rmse": before}}
    differing, told = compare(record, {}, [dict(row)], {"rmse": now, "by_level": [1]}, None)
    assert differing == []
    assert told == ([f"rmse {before} is now {now}."] if differs else [])
