"""Claims about configs that plugin packages ship: found by their place, and by a package's name."""

import json
import sys
from importlib.metadata import EntryPoint

import pytest

from cellbench.config import sources
from cellbench.config.compose import resolve
from cellbench.config.sources import config_folders, find_config, package_folders
from cellbench.errors import UserError
from cellbench.plugin_index import GROUP

METHOD = """
_base_ = "cellbench:methods/p2pnet.py"
method = dict(name="Ours")
optimizer = dict(lr=_base_.optimizer.lr * 0.5)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with configs, whose import is an error."""
    folder = tmp_path / "site" / "hostile_cells"
    for name, text in {"methods/ours.py": METHOD, "methods/bloblog.py": "recipe = 7\n"}.items():
        file = folder / "configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder.parent / "single_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    names = ("hostile_cells.parts.deep", "single_module", "not_installed")
    points = [EntryPoint(name, name, GROUP) for name in names]
    real = sources.installed_plugins
    monkeypatch.setattr(sources, "installed_plugins", lambda: [*real(), *points])
    monkeypatch.chdir(tmp_path)
    package_folders.cache_clear()
    yield folder
    package_folders.cache_clear()
    assert "hostile_cells" not in sys.modules


def test_a_packages_configs_are_found_without_importing_it(package):
    assert find_config("methods/ours.py") == package / "configs/methods/ours.py"
    assert find_config("hostile_cells:methods/ours") == package / "configs/methods/ours.py"
    config = resolve("configs/methods/ours.py", dataset="adi")
    assert config.method.name == "Ours"
    assert (
        config.optimizer.lr
        == 0.5 * resolve("cellbench:methods/p2pnet.py", dataset="adi").optimizer.lr
    )
    assert config.model == resolve("cellbench:methods/p2pnet.py", dataset="adi").model


def test_the_working_folders_configs_come_first_and_those_of_cellbench_last(package, tmp_path):
    assert find_config("methods/bloblog.py") == package / "configs/methods/bloblog.py"
    own = tmp_path / "configs/methods/bloblog.py"
    own.parent.mkdir(parents=True)
    own.write_text("recipe = 8\n")
    assert find_config("methods/bloblog.py") == own
    shipped = config_folders()[-1] / "methods/bloblog.py"
    assert find_config("cellbench:methods/bloblog.py") == shipped.resolve()


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("nowhere:methods/dla.py", "no package 'nowhere' with configs"),
        ("cellbench:../pyproject.toml", "leads out"),
        ("cellbench:methods/dla2.py", "did you mean configs/methods/dla.py"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(named, words):
    with pytest.raises(UserError, match=words):
        find_config(named)


def test_a_base_that_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "a.py").write_text("_base_ = 'cellbench:methods/none.py'\n")
    with pytest.raises(
        UserError, match=r"a\.py: the base 'cellbench:methods/none.py' is not there"
    ):
        resolve(tmp_path / "a.py")


def test_data_name_the_configs_of_cellbench_and_no_other_packages_programs(package, tmp_path):
    own = tmp_path / "a.json"
    own.write_text(
        json.dumps({"_base_": ["cellbench:methods/dla.py", "cellbench:datasets/adi.py"]})
    )
    assert resolve(own).method.name == "DLA"
    own.write_text(json.dumps({"_base_": "hostile_cells:methods/ours.py"}))
    with pytest.raises(UserError, match="neither"):
        resolve(own)
