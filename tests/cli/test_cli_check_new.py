"""Claims about `cellbench check` and `cellbench new`."""

import re
import runpy
import subprocess
import sys
from importlib.metadata import Distribution, EntryPoint

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cellbench import plugin_index
from cellbench.cli.main import cli
from cellbench.config import sources
from cellbench.errors import UserError
from cellbench.registry import REGISTRIES
from cellbench.testing import fake_cuda

KINDS = {"matcher": "matcher", "conv": "conv", "decoder": "decoder", "method": "counter"}


def call(*arguments):
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def forget():
    plugin_index.forget()
    sources.package_folders.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Have a package in a folder below the working folder count as installed, for one test."""
    monkeypatch.chdir(tmp_path)
    points = []

    class Installed(Distribution):
        def __init__(self, name):
            self.text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n"

        def read_text(self, filename):
            return self.text if filename == "METADATA" else None

        def locate_file(self, path):
            return tmp_path / path

    def install(name, place="."):
        monkeypatch.syspath_prepend(str(tmp_path / place))
        points.append(EntryPoint(name, name, plugin_index.GROUP)._for(Installed(name)))
        forget()

    real = plugin_index.entry_points
    monkeypatch.setattr(plugin_index, "entry_points", lambda group: [*real(group=group), *points])
    yield install
    names = {point.name for point in points}
    for registry in REGISTRIES.values():
        for name, part in list(registry._module_dict.items()):
            if part.__module__.partition(".")[0] in names:
                del registry._module_dict[name]
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]
    forget()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_passes_its_own_check_and_its_part_is_short(kind, tmp_path, install):
    answer = call("new", kind, "my_part")
    assert "pip install -e ./my_part" in answer.output
    lines = (tmp_path / "my_part/my_part" / f"{kind}.py").read_text().splitlines()
    assert len(lines) < 60
    install("my_part", "my_part")
    assert [e.role for e in plugin_index.entries() if e.name == "MyPart"] == [KINDS[kind]]
    checked = call("check", "my-part")
    assert "FAIL" not in checked.output
    assert "configs/grids/my_part.py" in checked.output
    assert checked.exit_code == 0


def test_a_new_package_needs_no_torch(tmp_path):
    program = (
        "import pathlib, sys\n"
        "from cellbench.testing.scaffold import write_package\n"
        "write_package('method', 'my_own', pathlib.Path(sys.argv[1]), None)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "my_own/my_own/method.py").is_file()


def test_what_this_pytorch_cannot_check_is_neither_held_nor_failed(install, monkeypatch):
    call("new", "conv", "my_part")
    install("my_part", "my_part")
    held = call("check", "my-part").output
    monkeypatch.setattr(fake_cuda, "ASKS_THE_DRIVER", True)
    left = call("check", "my-part")
    assert left.exit_code == 0
    assert "not checked  a counter with it runs as cudas autocast types it: PyTorch" in left.output
    number = int(re.search(r"my-part: (\d+) of \1 checks hold", held.replace("_", "-"))[1])
    assert f"{number - 1} of {number - 1} checks hold" in left.output


def dotted(folder, number=20, step=14):
    """Pictures with dots on a grid, `step` px apart."""
    folder.mkdir()
    places = np.arange(6, 80, step)
    for index in range(number):
        dots = np.zeros((80, 80), np.uint8)
        dots[np.ix_(places, places[: 2 + index % 3])] = 255
        Image.fromarray(255 - dots).save(folder / f"{index:02}.png")
        Image.fromarray(dots).save(folder / f"{index:02}_dots.png")


def test_a_new_data_set_is_measured_imported_and_checked(tmp_path, install, home):
    dotted(tmp_path / "pictures")
    answer = call("new", "dataset", "my_cells", "--from", "pictures")
    assert "20 pictures" in answer.output
    assert len((tmp_path / "my_cells/my_cells/dataset.py").read_text().splitlines()) < 60
    install("my_cells", "my_cells")
    config = sources.load_file(sources.find_config("datasets/my_cells.py"))["data"]
    assert (config["radius_px"], config["input_scale"]) == (7.0, 1.0)
    assert "20 images" in call("data", "import", "my_cells", "--from", "pictures").output
    checked = call("check", "--quiet", "my_cells")
    assert checked.output == "my_cells: 7 of 7 checks hold.\n"
    tests = runpy.run_path(str(tmp_path / "my_cells/tests/test_my_cells.py"))
    tests["test_the_package_keeps_the_contracts_of_cellbench"]()
    (tmp_path / "raw").mkdir()
    tests["test_a_dot_and_a_line_are_one_cell_each"](tmp_path / "raw")


def test_without_neighbours_no_radius_is_said_to_follow_from_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (80, 80)).save(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/a.txt").write_text("1.5 2.5\n")
    said = call("new", "dataset", "my_cells", "--from", "pictures").output
    assert "match radius 8 px, for no picture has two cells" in said


def test_pictures_that_a_new_data_set_cannot_read_leave_no_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dotted(tmp_path / "pictures", number=3)
    (tmp_path / "pictures/01_dots.png").unlink()
    with pytest.raises(UserError, match=r"01.png has no dots; put 01_dots.png beside it"):
        call("new", "dataset", "my_cells", "--from", "pictures")
    with pytest.raises(UserError, match="is no folder"):
        call("new", "dataset", "my_cells", "--from", "nowhere")
    with pytest.raises(UserError, match="leave --from out"):
        call("new", "matcher", "my_cells", "--from", "pictures")
    assert not (tmp_path / "my_cells").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-Cells", "lower-case letters"),
        ("../escape", "lower-case letters"),
        ("class", "lower-case letters"),
        ("x" * 41, "lower-case letters"),
        ("there", "exists; name another package"),
        ("numpy", "a module 'numpy' already"),
        ("khm", "cellbench has a matcher called KHM"),
        ("adi", "cellbench has a dataset called adi"),
        ("none_", "would be called None"),
        ("tensor", "would be called Tensor"),
        ("matcher", "would be called Matcher"),
        ("p2pnet", "cellbench has a method config 'p2pnet'"),
        ("components", "cellbench has a grid config 'components'"),
    ],
)
def test_a_name_that_no_package_can_have_is_one_sentence(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=words):
        call("new", "matcher", name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


BROKEN = '''
import torch
from cellbench.models.parts import Matcher
from cellbench.registry import MATCHERS

@MATCHERS.register_module()
class Twice(Matcher):
    """Pairs the first proposal with every cell."""

    def match(self, proposals, scores, cells, *, scale=1.0):
        some = min(len(proposals), len(cells))
        return torch.zeros(some, dtype=torch.int64), torch.arange(some)

@MATCHERS.register_module()
class Silent(Matcher):
    def match(self, proposals, scores, cells, *, scale=1.0):
        raise SystemExit(3)
'''


def test_a_part_that_breaks_its_contract_is_named_and_the_exit_code_is_1(tmp_path, install):
    (tmp_path / "broken_part.py").write_text(BROKEN)
    install("broken_part")
    checked = call("check", "broken_part", "--quiet")
    assert checked.exit_code == 1
    said = checked.output
    assert "each proposal and each cell is in one pair at most: (200, 40): something" in said
    assert "its class has no docstring" in said
    assert "SystemExit: 3" in said
    assert "broken_part.py:" in said


def test_a_package_without_entry_point_is_one_sentence():
    with pytest.raises(UserError, match=r"No installed package 'numpy' has an entry point"):
        call("check", "numpy")


def test_a_package_that_registers_nothing_fails(tmp_path, install):
    (tmp_path / "empty_part.py").write_text("")
    install("empty_part")
    checked = call("check", "empty_part")
    assert checked.exit_code == 1
    assert "no class of it has a decorator" in checked.output
