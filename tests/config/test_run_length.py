"""A run's length from the command line, and the methods that have none."""

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from cellbench import plugin_index
from cellbench.config.compose import resolve
from cellbench.config.run_length import trained_by_steps, with_length
from cellbench.errors import UserError
from cellbench.plugin_classes import class_constant
from cellbench.registry import COUNTERS

WITHOUT_STEPS = [
    "meancount", "bloblog", "blobforest", "watershed", "cellpose_zeroshot", "stardist_zeroshot",
]  # fmt: skip
COUNTER_ENTRIES = [entry for entry in plugin_index.entries() if entry.role == "counter"]


@pytest.mark.parametrize("method", WITHOUT_STEPS)
@pytest.mark.parametrize("length", [{"epochs": 7}, {"budget_s": 60.0}])
def test_a_method_without_steps_has_one_config_whatever_the_length(method, length):
    config = resolve(f"methods/{method}", dataset="adi")
    assert with_length(config, **length).hash == config.hash


def test_a_method_of_steps_takes_the_length():
    config = resolve("dla_adi")
    assert with_length(config) is config
    assert with_length(config, epochs=7).data.epochs == 7
    assert with_length(config, budget_s=60.0).schedule.budget_s == 60.0
    assert with_length(config, epochs=7).hash != config.hash


def test_a_length_from_the_command_line_keeps_the_one_of_the_config_and_changes_no_hash():
    config = resolve("dla_adi")
    assert config.whole_epochs is None
    assert with_length(config, epochs=104).whole_epochs is None
    short = with_length(config, epochs=7)
    assert short.whole_epochs == 104
    assert with_length(short, epochs=9).whole_epochs == 104
    assert resolve("dla_adi", overrides=["data.epochs=7"]).whole_epochs == 104
    assert "whole_epochs" not in short.plain()


@pytest.mark.parametrize("entry", COUNTER_ENTRIES, ids=lambda entry: entry.name)
def test_what_is_read_from_the_source_is_what_the_class_has(entry):
    part = COUNTERS.get(entry.name)
    assert class_constant(entry, "trained_by_steps") is part.trained_by_steps


def entry_of(name, file, module="part"):
    """The entry of a class in a file, as the index would have read it."""
    node = ast.ClassDef(name=name, bases=[], keywords=[], body=[], decorator_list=[])
    return plugin_index.Entry("counter", name, module, file, node, "", "")


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """The folder of an installed plugin package."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("pack", "pack", plugin_index.GROUP)
    real = plugin_index.entry_points
    monkeypatch.setattr(plugin_index, "entry_points", lambda group: [*real(group=group), point])
    plugin_index.forget()
    yield package
    monkeypatch.undo()
    plugin_index.forget()


def test_a_constant_is_found_in_bases_of_other_files(pack):
    package = pack / "inner"
    package.mkdir()
    (package / "__init__.py").write_text("class Far:\n    kind: str = 'far'\n")
    (package / "near.py").write_text(
        "from pack.inner import Far as Other\nimport nowhere\n"
        "class Near(nowhere.Base, Other):\n    computed = 1 + 1\n    none = None\n"
    )
    entry = entry_of("Near", package / "near.py", "pack.inner.near")
    assert class_constant(entry, "kind") == "far"
    assert class_constant(entry, "computed", 3) == 3
    assert class_constant(entry, "missing", 5) == 5


def test_a_base_of_the_standard_library_gives_the_default(tmp_path):
    source = tmp_path / "part.py"
    source.write_text("from abc import ABC\n\nclass Part(ABC):\n    pass\n")
    entry = entry_of("Part", source)
    assert class_constant(entry, "trained_by_steps", True) is True


def test_a_file_that_cannot_be_read_gives_the_default(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("class :")
    entry = entry_of("A", broken)
    assert class_constant(entry, "kind", "default") == "default"


def test_finding_out_imports_neither_torch_nor_a_plugin():
    code = (
        "import sys; from cellbench.config.compose import resolve; "
        "from cellbench.config.run_length import trained_by_steps; "
        "assert not trained_by_steps(resolve('methods/watershed', dataset='adi')); "
        "sys.exit('torch' in sys.modules or 'cellbench_plugins.methods' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_counter_counts_as_trained_by_steps():
    config = resolve("dla_adi")
    config.model["type"] = "FromElsewhere"
    assert trained_by_steps(config)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ({"epochs": 10**7}, "--epochs: a whole number of at least 1"),
        ({"budget_s": 1e300}, "--budget: a number above 0 and at most"),
    ],
)
def test_a_length_that_no_run_can_have_is_refused(length, said):
    with pytest.raises(UserError, match=said):
        with_length(resolve("dla_adi"), **length)
