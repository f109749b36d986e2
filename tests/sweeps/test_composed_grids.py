"""Claims about grids that are made of grids, and about shares of their runs."""

from pathlib import Path

import pytest
from record_samples_light import light_record

from cellbench.cli.main import main
from cellbench.errors import UserError
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import State, make_plan

ROOT = Path(__file__).parents[2]
BASELINES = """
methods = ["methods/meancount.py", "methods/bloblog.py"]
datasets = ["adi-sim"]
"""
# Nothing is trained, or by a program of its own.
NOT_IN_METHODS = {"cellpose_zeroshot", "stardist_zeroshot"}


@pytest.fixture
def grid(tmp_path):
    """Write a grid file and give its name."""

    def write(text, name="mine"):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        return str(file)

    return write


def test_every_method_but_the_zero_shot_ones_is_in_the_grid_of_methods():
    there = {file.stem for file in (ROOT / "configs" / "methods").glob("*.py")}
    named = {Path(cell.config).stem for cell in load_grid("methods").cells()}
    assert named == there - NOT_IN_METHODS


def test_everything_is_methods_combinations_the_papers_tables_and_its_protocol(home, tmp_path):
    plan = make_plan(load_grid("all"), GridOverrides(), tmp_path)
    assert [part.grid.name for part in plan.parts] == [
        "methods", "components", "table3", "table4", "table5", "released",
    ]  # fmt: skip
    assert [stored.name for stored in plan.parts[1].sets] == [
        "adi", "mbm", "vgg", "nuclei", "dcc-sim",
    ]  # fmt: skip
    runs = [run.experiment for run in plan.runs]
    keys = [(run.config.hash, run.protocol, run.split) for run in runs]
    assert len(set(keys)) == len(keys), "what two grids share is run once"
    splits = [run.split for run in runs]
    assert splits == sorted(splits)
    first = [run.dataset for run in plan.runs if run.experiment.split == 0]
    assert first.index("dcc-sim") > first.index("nuclei")
    assert {run.protocol for run in runs} == {"v1", "released"}


def test_parts_take_their_own_sets_and_splits_and_the_command_line_takes_all(home, tmp_path, grid):
    own = grid(BASELINES, "own")
    both = grid(
        f"grids = [dict(grid={own!r}, splits=[1]), dict(grid='table3', datasets=['vgg-sim'])]",
        "both",
    )
    plan = make_plan(load_grid(both), GridOverrides(), tmp_path)
    seen = {(run.dataset, run.experiment.split) for run in plan.runs}
    assert seen == {("adi-sim", 1), *(("vgg-sim", split) for split in range(5))}
    plan = make_plan(load_grid(both), GridOverrides(datasets=("dcc-sim",), splits=(0,)), tmp_path)
    assert {(run.dataset, run.experiment.split) for run in plan.runs} == {("dcc-sim", 0)}


def test_shares_are_all_runs_each_once_whatever_is_done(home, tmp_path):
    everything = load_grid("all")

    def keys(share):
        plan = make_plan(everything, GridOverrides(splits=(0,), share=share), tmp_path)
        return [(run.experiment.config.hash, run.dataset) for run in plan.runs]

    whole = keys(None)
    shares = [keys((index, 3)) for index in (1, 2, 3)]
    assert sorted(run for share in shares for run in share) == sorted(whole)
    assert [len(share) for share in shares] == sorted(map(len, shares), reverse=True)
    assert keys((2, len(whole) + 5)) == whole[1:2]
    assert keys((len(whole) + 5,) * 2) == []


def test_a_share_sees_what_is_finished_of_the_others(tiny_home, tmp_path, grid):
    name = grid(BASELINES)
    wish = GridOverrides(protocol="smoke", splits=(0,), share=(2, 2))
    other = make_plan(load_grid(name), GridOverrides(protocol="smoke", splits=(0,)), tmp_path)
    plain = other.runs[0].experiment.config.plain()
    light_record(plain, dataset="adi-sim", store=tmp_path)
    plan = make_plan(load_grid(name), wish, tmp_path)
    assert [run.state for run in plan.runs] == [State.MISSING]
    states = {cell.label: runs[0].state for (cell, _), runs in plan.parts[0].cells.items()}
    assert states == {"meancount": State.DONE, "bloblog": State.MISSING}


def test_a_composed_grid_runs_each_run_once_and_leaves_a_report_of_each_part(fake, grid):
    text = fake.grid.read_text()
    parts = [grid(text.replace("0.3, 0.4", ""), "two"), grid(text.replace(", 0.4", ""), "three")]
    fake.grid = grid(f"grids = {parts!r}", "both")
    code, said = fake.run("--splits", "0")
    assert code == 0, said
    assert sorted(fake.lines("started.txt")) == ["0.1 0", "0.2 0", "0.3 0"]
    assert said.count("Report: ") == 2
    tables = said.partition("Rates: adi-sim")[2]
    assert [tables.count(f"lr=0.{level}") for level in (1, 2, 3)] == [2, 2, 1]
    code, again = fake.run("--splits", "0", "--slice", "2/2")
    assert code == 0, again
    assert len(fake.lines("started.txt")) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grids = []", "there is nothing to compare; give 'grids' at least one name."),
        ("grids = [3]", "a part of 'grids' is a name or dict(grid=...), not 3."),
        ("grids = [dict(splits=[0])]", "is a name or dict(grid=...)"),
        ("grids = [dict(grid='table3', base='x')]", "and no 'base'."),
        ("grids = [dict(grid='table3', splits=0)]", "splits is a list of whole numbers, not 0."),
        ("grids = ['table3', 'table3']", "'table3' is included twice"),
        ("grids = ['table3']\nsplits = [0]", "a grid of grids has 'title' and 'grids', and no"),
        ("grids = ['tabel3']", "There is no grid 'tabel3'; did you mean table3"),
    ],
)
def test_a_wrong_composed_grid_is_one_sentence(text, said, grid):
    with pytest.raises(UserError) as caught:
        load_grid(grid(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_that_includes_itself_is_refused(grid, tmp_path):
    outer = str(tmp_path / "outer.py")
    grid(f"grids = [{grid(f'grids = [{outer!r}]', 'inner')!r}]", "outer")
    with pytest.raises(UserError, match="includes itself"):
        load_grid(outer)


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/0", "٣/٤"])
def test_a_wrong_share_is_one_sentence(share, home, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--store", str(tmp_path), "--slice", share])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "write 2/4 for the second of four." in error
    assert len(error.strip().splitlines()) == 1
