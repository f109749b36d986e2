import dataclasses
import json

import pytest
from record_samples_light import light_record

from cellbench.config.compose import resolve
from cellbench.config.run_length import trained_by_steps, with_length
from cellbench.data.splits import SPLITS
from cellbench.errors import UserError
from cellbench.records import finished
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.grids import SETS
from cellbench.sweeps.plan import State, make_plan
from cellbench.sweeps.tasks import config_text, make_task

SMOKE = GridOverrides(datasets=("adi-sim",), protocol="smoke")
FIRST = dataclasses.replace(SMOKE, splits=(0,))


def states(plan):
    return {state: len(plan.in_state(state)) for state in State if plan.in_state(state)}


def test_without_any_set_the_whole_plan_is_there_and_says_how_to_get_them(home, tmp_path):
    plan = make_plan(load_grid("components"), GridOverrides(), tmp_path)
    assert states(plan) == {State.NO_SET: 12 * len(SETS) * len(SPLITS)}
    assert all("cellbench data import" in stored.problem for stored in plan.sets)


def test_a_simulated_set_that_is_not_drawn_yet_is_missing_not_lost(home, tmp_path):
    assert states(make_plan(load_grid("table3"), SMOKE, tmp_path)) == {State.MISSING: 20}


def test_combinations_of_one_split_come_before_the_next_split(tiny_home, tmp_path):
    plan = make_plan(load_grid("table3"), SMOKE, tmp_path)
    assert [run.experiment.split for run in plan.runs] == sorted(
        run.experiment.split for run in plan.runs
    )


def test_a_record_of_the_same_run_is_done_and_of_any_other_is_not(tiny_home, tmp_path):
    grid = load_grid("table3")
    runs = make_plan(grid, FIRST, tmp_path).runs
    plain = runs[0].experiment.config.plain()
    light_record(plain, dataset="adi-sim", store=tmp_path)
    light_record(plain, dataset="adi-sim", store=tmp_path, split=3)
    light_record(
        {**runs[1].experiment.config.plain(), "recipe": 9}, dataset="adi-sim", store=tmp_path
    )
    light_record(
        runs[2].experiment.config.plain(), dataset="adi-sim", store=tmp_path, protocol="v1"
    )
    light_record(
        runs[3].experiment.config.plain(), dataset="adi-sim", store=tmp_path, manifest_hash="0" * 64
    )
    plan = make_plan(grid, FIRST, tmp_path)
    assert [run.state for run in plan.runs] == [State.DONE, *[State.MISSING] * 3]
    assert plan.runs[0].record.method == plain["method"]["name"]
    assert plan.runs[1].estimate_s == pytest.approx(10 + 4.0 / 2 * 104 + 0.2)


def test_the_nearest_relations_among_finished_runs_say_how_long_one_takes(tiny_home, tmp_path):
    grid = load_grid("table3")
    plain = (
        make_plan(grid, FIRST, tmp_path).runs[3].experiment.config.plain()
    )  # +All: the method as it stands

    def finish(name, train_s, **changed):
        config = plain | {"method": plain["method"] | {"name": name}}
        timing = {"train_s": train_s, "images_per_s": 10.0, "peak_memory_mb": None}
        light_record(config, dataset="adi-sim", store=tmp_path, timing=timing, **changed)

    def estimates():
        return [run.estimate_s for run in make_plan(grid, FIRST, tmp_path).runs]

    finish("BlobForest", 30.0, curve=[])
    assert estimates() == [None] * 4
    finish("Another", 8.0)
    assert estimates() == [pytest.approx(10 + 8.0 / 2 * 104 + 0.2)] * 4
    finish("DLA[optimizer.lr=1.0]", 6.0)
    assert estimates() == [pytest.approx(10 + 6.0 / 2 * 104 + 0.2)] * 4


def test_a_method_without_steps_takes_what_such_methods_took(tiny_home, tmp_path):
    grid = dataclasses.replace(FIRST, splits=(0, 1))

    def estimates():
        plan = make_plan(load_grid("baselines"), grid, tmp_path)
        named = [(run.experiment.config.method.name, run.estimate_s) for run in plan.runs]
        return {name: seconds for name, seconds in named if seconds is not None}

    named = ("dla", "bloblog")
    dla, blobs = (resolve(f"methods/{name}.py", dataset="adi-sim").plain() for name in named)
    light_record(dla, dataset="adi-sim", store=tmp_path)
    assert not estimates()
    light_record(blobs, dataset="adi-sim", store=tmp_path, curve=[])
    known = estimates()
    assert set(known) == {"MeanCount", "BlobLoG", "BlobForest", "Watershed"}
    assert list(known.values()) == [pytest.approx(10 + 4.0 + 0.2)] * len(known)


def test_of_one_budget_any_number_of_steps_is_the_run_and_most_steps_count(tiny_home, tmp_path):
    wish = dataclasses.replace(FIRST, budget_s=480.0)
    plan = make_plan(load_grid("table3"), wish, tmp_path)
    assert any("the time is equal, the steps are not" in note for note in plan.notes)
    assert [run.estimate_s for run in plan.runs] == [480.0] * 4
    for steps in (30, 70, 50):
        light_record(
            plan.runs[0].experiment.config.plain(),
            dataset="adi-sim",
            store=tmp_path,
            iterations=steps,
        )
    plan = make_plan(load_grid("table3"), wish, tmp_path)
    assert states(plan) == {State.DONE: 1, State.MISSING: 3}
    assert plan.runs[0].record.iterations == 70
    assert states(make_plan(load_grid("table3"), FIRST, tmp_path)) == {State.MISSING: 4}


def test_a_record_that_is_written_while_others_are_loaded_is_found_later(
    tiny_home, tmp_path, monkeypatch
):
    run = make_plan(load_grid("table3"), FIRST, tmp_path).runs[0]
    load = finished.load_records

    def load_as_another_sweep_ends(store, dataset):
        loaded = load(store, dataset)
        light_record(run.experiment.config.plain(), dataset=dataset, store=store)
        return loaded

    monkeypatch.setattr(finished, "load_records", load_as_another_sweep_ends)
    found = finished.FinishedRuns(tmp_path, ["adi-sim"])
    assert found.find(run.experiment.key) is None
    assert found.update("adi-sim", run.experiment.key) is not None


def test_a_record_counts_only_with_the_weights_that_a_run_would_start_from(tiny_home, tmp_path):
    grid = load_grid("table3")
    runs = make_plan(grid, FIRST, tmp_path).runs
    folder = tiny_home / "weights"
    folder.mkdir()
    (folder / "vgg16_bn.safetensors").write_bytes(b"new")
    digest = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
    for run, weights in zip(
        runs,
        (
            {"source": "file:vgg16_bn", "sha256": digest},
            {"source": "file:vgg16_bn", "sha256": "0" * 64},
            {"source": "random", "sha256": None, "wanted": "vgg16_bn"},
            {"source": "random", "sha256": None},
        ),
        strict=True,
    ):
        light_record(
            run.experiment.config.plain(), dataset="adi-sim", store=tmp_path, weights=weights
        )

    def done():
        return [run.state is State.DONE for run in make_plan(grid, FIRST, tmp_path).runs]

    assert done() == [True, False, False, True]
    (folder / "vgg16_bn.safetensors").unlink()
    assert done() == [True] * 4, "with no file here nothing speaks against a record"


def test_a_method_whose_config_is_not_there_is_a_sentence_and_the_others_run(tiny_home, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "methods = ['methods/p2pnet.py', dict(label='Nobody', config='methods/nobody.py')]\n"
    )
    plan = make_plan(load_grid(str(file)), FIRST, tmp_path)
    assert [run.label for run in plan.runs] == ["p2pnet on adi-sim, split 0"]
    assert plan.notes == ["Nobody is left out: there is no config 'methods/nobody.py'."]


def test_a_grid_that_changes_the_length_says_so(tiny_home, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "base = 'methods/p2pnet.py'\naxes = [dict(key='data.batch_size', values=[2, 4])]\n"
    )
    [note] = make_plan(load_grid(str(file)), FIRST, tmp_path).notes
    assert "do not train for the same number of steps" in note


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (GridOverrides(datasets=("ady",)), "There is no data set 'ady' (did you mean 'adi'"),
        (GridOverrides(protocol="v2"), "There is no protocol 'v2'"),
        (GridOverrides(overrides=("x",)), "--set takes key=value"),
        (GridOverrides(overrides=("data.set=vgg",)), "the set is chosen by its name"),
    ],
)
@pytest.mark.parametrize("grid", ["table3", "baselines"])
def test_a_wrong_wish_is_one_sentence(home, tmp_path, grid, wish, said):
    with pytest.raises(UserError) as caught:
        make_plan(load_grid(grid), wish, tmp_path)
    assert said in str(caught.value)


def test_a_set_that_is_named_twice_is_run_once(home, tmp_path):
    wish = GridOverrides(datasets=("ADI-sim", "adi-sim"), splits=(0,))
    (part,) = make_plan(load_grid("baselines"), wish, tmp_path).parts
    assert [stored.name for stored in part.sets] == ["adi-sim"]
    assert {len(runs) for runs in part.cells.values()} == {1}


def test_a_protocol_that_a_set_has_not_is_a_problem_of_that_set(tiny_home, tmp_path):
    wish = GridOverrides(datasets=("adi-sim",), protocol="mbm-donor")
    plan = make_plan(load_grid("table3"), wish, tmp_path)
    assert "Protocol mbm-donor is for mbm" in plan.sets[0].problem
    assert states(plan) == {State.NO_SET: 20}


@pytest.mark.parametrize("method", ["dla", "dla_released", "p2pnet"])
@pytest.mark.parametrize("dataset", ["adi", "vgg-sim"])
def test_the_config_that_a_process_gets_is_the_planned_one(method, dataset, tmp_path):
    config = resolve(f"methods/{method}.py", dataset=dataset, overrides=["model.matcher.type=KHM"])
    file = tmp_path / "config.py"
    file.write_text(config_text(config))
    again = resolve(file)
    assert again == dataclasses.replace(config, changed=())
    assert again.hash == config.hash
    jitters = [part.get("jitter") for part in again.data.augment]
    assert jitters == [part.get("jitter") for part in config.data.augment]


@pytest.mark.parametrize("short", [{"epochs": 3}, {"overrides": ("data.epochs=3",)}])
@pytest.mark.parametrize("grid", ["table3", "baselines"])
def test_the_process_of_a_shortened_run_knows_the_whole_schedule(grid, short, tiny_home, tmp_path):
    """Its record states it, whichever of the two ways made it shorter."""
    wish = dataclasses.replace(FIRST, **short)
    for run in make_plan(load_grid(grid), wish, tmp_path).runs:
        planned = run.experiment.config
        task = make_task(run, tmp_path, device="cpu", stall_timeout_s=9.0)
        file = tmp_path / "config.py"
        file.write_text(task.config)
        length = with_length(resolve(file), epochs=task.epochs)
        assert length.hash == planned.hash
        if trained_by_steps(planned):
            assert (length.data.epochs, length.whole_epochs) == (3, 104)
            assert task.options()[-2:] == ["--epochs", "3"]
        else:
            assert task.epochs is None


def test_the_command_of_a_run_makes_the_same_config(tiny_home, tmp_path):
    import shlex

    file = tmp_path / "mine.py"
    file.write_text(
        "base = 'methods/dla.py'\n"
        "axes = [dict(key='model.decoder.conv.scales', values=[[3, 5], [5, 7]]),\n"
        "        dict(key='method.title', values=['3', 'a b'])]\n"
    )
    for run in make_plan(load_grid(str(file)), FIRST, tmp_path).runs:
        words = shlex.split(run.command)
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        config = resolve(words[2], dataset="adi-sim", overrides=overrides)
        assert config.hash == run.experiment.config.hash
        assert json.dumps(config.plain()) == json.dumps(run.experiment.config.plain())
