"""Claims about `import cellbench`: light, complete, and the same as the command line."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cellbench
from cellbench.cli.docs import parsed_docstring
from cellbench.cli.main import COMMANDS
from cellbench.errors import UserError

README = Path(__file__).parents[2] / "README.md"

# Of the functions, where progress is shown; the command line has the terminal.
SHOWN = {"display", "view"}


def test_importing_loads_no_library():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import cellbench\n"
        "for name in cellbench.__all__:\n    assert callable(getattr(cellbench, name))\n"
        "heavy = {'torch', 'pandas', 'scipy', 'numpy', 'click', 'rich', 'mmengine', 'pydantic'}\n"
        "assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_submodule_shadows_a_function():
    for module in pkgutil.iter_modules(cellbench.__path__):
        assert module.name not in cellbench.__all__
        importlib.import_module(f"cellbench.{module.name}") if module.name != "__main__" else None
    for command in COMMANDS:
        importlib.import_module(f"cellbench.cli.{command}")
    assert all(inspect.isfunction(getattr(cellbench, name)) for name in cellbench.__all__)
    assert set(cellbench.__all__) <= set(dir(cellbench))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = cellbench.train


def test_the_types_are_shipped():
    assert (Path(cellbench.__file__).parent / "py.typed").is_file()


COMMAND_FUNCTIONS = ["run", "compare", "count", "export", "verify", "leaderboard", "plugins"]


@pytest.mark.parametrize("name", COMMAND_FUNCTIONS)
def test_the_help_of_a_command_is_the_docstring_of_its_function(name):
    function = getattr(cellbench, name)
    command = importlib.import_module(f"cellbench.cli.{name}").command
    text, arguments = parsed_docstring(function)
    command.document()
    assert command.help == text
    parameters = {p.name: p for p in command.params}
    taken = set(inspect.signature(function).parameters) - SHOWN
    assert set(arguments) - SHOWN == taken
    assert taken <= set(parameters)
    for argument in taken:
        if isinstance(parameters[argument], click.Option):
            assert parameters[argument].help == arguments[argument]
    assert all(p.help for p in command.params if isinstance(p, click.Option))
    if name != "plugins":  # a group, that shows one part as well
        assert COMMANDS[name][1] == text.splitlines()[0]


@pytest.mark.parametrize("name", COMMAND_FUNCTIONS)
def test_a_command_and_its_function_have_the_same_defaults(name):
    parameters = inspect.signature(getattr(cellbench, name)).parameters
    command = importlib.import_module(f"cellbench.cli.{name}").command
    required = ["x"] if name in ("run", "export", "verify") else []
    taken = command.make_context(name, required).params
    for argument, parameter in parameters.items():
        if parameter.default is not parameter.empty and argument not in SHOWN:
            assert taken[argument] == parameter.default, argument


def test_the_readmes_example_runs(simulated_home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    section = README.read_text().split("## From Python")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    names = {}
    exec(code, names)
    done, found, table = names["done"], names["found"], names["table"]
    assert done.fresh
    assert done.row["mae"].item() == done.record["metrics"]["mae"]
    assert (done.folder / "best.safetensors").is_file()
    (row,) = found.counts.itertuples()
    assert row.image == "photos/a.png"
    assert (row.width_px, row.height_px) == (80, 60)
    assert row.count == row.points == len(found.points)
    assert list(found.points.columns) == ["image", "x_px", "y_px", "score"]
    assert found.points["x_px"].between(0, 80).all()
    assert found.refused == ()
    assert table["method"].tolist() == ["BlobLoG"]
    assert table.attrs["problems"] == ()
    assert names["verification"].same
    assert not cellbench.run(
        "configs/methods/bloblog.py", dataset="adi-sim", protocol="smoke"
    ).fresh


def test_a_dry_comparison_lists_its_runs(home, tmp_path):
    found = cellbench.compare("table3", datasets=["adi-sim"], splits=[0], dry_run=True)
    assert set(found.runs["state"]) == {"missing"}
    assert set(found.runs["dataset"]) == {"adi-sim"}
    assert found.tables == {}
    with pytest.raises(UserError, match="give one of them"):
        cellbench.compare(epochs=1, budget=60.0)


def test_sets_and_parts_are_frames(home):
    sets = cellbench.datasets()
    assert {"adi", "vgg", "adi-sim"} <= set(sets["set"])
    assert sets.set_index("set").loc["adi", "to_do"].startswith("`cellbench data fetch adi`")
    parts = cellbench.plugins("matcher")
    assert isinstance(parts, pd.DataFrame)
    assert {"KHM", "Hungarian"} <= set(parts["name"])
    assert set(parts["role"]) == {"matcher"}
    with pytest.raises(UserError, match="did you mean matcher"):
        cellbench.plugins("macher")


@pytest.mark.parametrize("budget", ["30m", float("nan"), 0, -1.0])
def test_a_budget_that_is_no_time_is_refused(budget):
    with pytest.raises(UserError, match="budget is a number of seconds above 0"):
        cellbench.recommend("nuclei", budget=budget)


@pytest.mark.parametrize("splits", ["0-4", ["0"], [0.5]])
def test_splits_that_are_no_whole_numbers_are_refused(splits):
    with pytest.raises(UserError, match="splits is a list of whole numbers"):
        cellbench.compare("baselines", splits=splits)


def test_sets_may_be_named_as_the_command_takes_them(home, tmp_path):
    for datasets in ("adi-sim, vgg-sim", ["adi-sim", "vgg-sim"]):
        plan = cellbench.compare(
            "baselines", datasets=datasets, splits=[np.int64(0)], dry_run=True, store=str(tmp_path)
        )
        assert set(plan.runs["dataset"]) == {"adi-sim", "vgg-sim"}
