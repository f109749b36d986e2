import sys
from importlib.metadata import EntryPoint
from importlib.util import spec_from_file_location

import pytest

from cellbench import plugin_index
from cellbench.config.sources import package_folders
from cellbench.errors import PartError
from cellbench.plugin_classes import class_constant
from cellbench.registry import MATCHERS, REGISTRIES, check_arguments


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a plugin of the given source for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    points = []

    def install(name, source):
        content = source if isinstance(source, bytes) else source.encode()
        (tmp_path / f"{name}.py").write_bytes(content)
        points.append(EntryPoint(name, name, plugin_index.GROUP))
        plugin_index.forget()

    real = plugin_index.entry_points
    monkeypatch.setattr(plugin_index, "entry_points", lambda group: [*real(group=group), *points])
    yield install
    installed = {point.name for point in points}
    for name, part in list(MATCHERS._module_dict.items()):
        if part.__module__ in installed or part.__module__ == __name__:
            del MATCHERS._module_dict[name]
    plugin_index.forget()
    for point in points:
        sys.modules.pop(point.name, None)


REGISTER = "from cellbench.registry import MATCHERS\n"


def test_a_part_from_outside_is_found_by_name(plugin):
    plugin("outside_a", REGISTER + "@MATCHERS.register_module()\nclass Outside: pass\n")
    assert MATCHERS.get("Outside").__module__ == "outside_a"


class EditableFinder:
    """Finds one package as setuptools' editable installations do: after all folders."""

    def __init__(self, name, file):
        self.name, self.file = name, file

    def find_spec(self, fullname, path=None, target=None):
        return spec_from_file_location(fullname, self.file) if fullname == self.name else None


@pytest.mark.parametrize("place", ["__init__", "part"])
def test_a_folder_of_its_name_in_the_working_folder_hides_no_plugin(
    plugin, tmp_path, monkeypatch, place
):
    package = tmp_path / "projects" / "hidden_p" / "hidden_p"  # as `cellbench new` writes it
    (package / "configs").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / f"{place}.py").write_text(
        REGISTER + '@MATCHERS.register_module()\nclass Hidden:\n    name = "hidden"\n'
    )
    plugin("hidden_p", "")
    (tmp_path / "hidden_p.py").unlink()
    monkeypatch.syspath_prepend(str(tmp_path / "projects"))
    finder = EditableFinder("hidden_p", package / "__init__.py")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    plugin_index.forget()
    package_folders.cache_clear()
    try:
        assert package_folders()["hidden_p"] == package / "configs"
        (entry,) = plugin_index.find("matcher", "Hidden")
        assert class_constant(entry, "name") == "hidden"
        assert MATCHERS.get("Hidden").name == "hidden"
    finally:
        package_folders.cache_clear()
        MATCHERS._module_dict.pop("Hidden", None)
        for name in ("hidden_p", "hidden_p.part"):
            sys.modules.pop(name, None)


def test_a_part_is_known_by_name_and_only_files_with_the_name_are_parsed(plugin, monkeypatch):
    named = '@MATCHERS.register_module(name="Un-Named")\nclass Other: pass\n'
    plugin("outside_n", REGISTER + named)
    parsed = []
    parse = plugin_index.ast.parse
    monkeypatch.setattr(plugin_index.ast, "parse", lambda text: parsed.append(text) or parse(text))
    assert "Un-Named" in MATCHERS
    assert len(parsed) == 1
    assert "Un-named" not in MATCHERS
    assert "Un-Named" not in REGISTRIES["conv"]
    assert len(parsed) == 1
    assert None not in MATCHERS


def test_a_plugin_that_fails_to_import_is_named_when_it_is_asked_for(plugin):
    plugin(
        "outside_b",
        REGISTER + "import nowhere_at_all\n@MATCHERS.register_module()\nclass Lost: 0\n",
    )
    assert "Lost" in MATCHERS.names()
    assert MATCHERS.get("KHM").__name__ == "KHM"  # the others are untouched
    with pytest.raises(PartError, match=r"outside_b.*ModuleNotFoundError.*nowhere_at_all"):
        MATCHERS.get("Lost")


def test_a_name_registered_twice_is_an_error(plugin):
    plugin("outside_c", REGISTER + "@MATCHERS.register_module()\nclass KHM: pass\n")
    with pytest.raises(PartError, match="registered twice"):
        MATCHERS.get("KHM")


def test_a_part_registered_in_a_loop_is_found_after_all(plugin):
    source = REGISTER + "for n in ('One', 'Two'):\n"
    add = "    MATCHERS.register_module(name=n, module=type(n, (), {'__module__': __name__}))\n"
    plugin("outside_d", source + add)
    assert MATCHERS.get("Two").__name__ == "Two"


BROKEN = {
    "syntax": b"def (\n",
    "bytes": b"\xff\xfe",
    "nul": b"x = 1\0\n",
    "brackets": b"x = " + b"(" * 5000 + b"\n",
    "signs": b"x = " + b"-" * 200_000 + b"1\n",
    "long": b"#" * (plugin_index.LARGEST_SOURCE_BYTES + 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_whose_source_cannot_be_read_is_named_and_the_others_work(plugin, kind):
    register = b"" if kind == "bytes" else REGISTER.encode()
    register += b"@MATCHERS.register_module(name='Never')\nclass X: pass\n"
    plugin(f"outside_{kind}", register + BROKEN[kind])
    plugin("outside_whole", REGISTER + "@MATCHERS.register_module()\nclass Whole: pass\n")
    assert MATCHERS.get("Whole").__name__ == "Whole"
    assert "KHM" in MATCHERS.names()
    (unread,) = [m for m in plugin_index.unread_modules() if m.module == f"outside_{kind}"]
    assert unread.reason.startswith("cannot be read (")
    if kind == "long":
        return  # it is Python all the same, so that its import finds what it registers
    with pytest.raises(PartError, match=rf"no matcher called 'Never'.*outside_{kind}.*known"):
        MATCHERS.get("Never")


def test_a_plugin_that_exits_is_one_sentence(plugin):
    source = REGISTER + "import sys\n@MATCHERS.register_module()\nclass Gone: pass\nsys.exit(7)\n"
    plugin("outside_exits", source)
    assert MATCHERS.get("KHM").__name__ == "KHM"
    with pytest.raises(PartError, match=r"outside_exits .*does not import .SystemExit: 7"):
        MATCHERS.get("Gone")


def test_a_dotted_name_is_refused_and_nothing_is_imported():
    with pytest.raises(PartError, match="dotted name"):
        MATCHERS.get("antigravity.fly")
    assert "antigravity" not in sys.modules


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(PartError, match="did you mean KHM"):
        MATCHERS.get("khm")


def test_the_index_and_the_registries_agree():
    for entry in plugin_index.entries():
        part = REGISTRIES[entry.role].get(entry.name)
        assert part.__module__ == entry.module
        assert entry.docstring, f"{entry.name} has no docstring"
    for role, registry in REGISTRIES.items():
        assert set(registry._module_dict) <= {
            e.name for e in plugin_index.entries() if e.role == role
        }


class Part:
    def __init__(self, *, k: int, scales: tuple[int, ...] = (3, 5)) -> None: ...


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs 'k'"),
        ({"k": "five"}, "m.k: Part wants a whole number here, not 'five'."),
        ({"k": 5, "scale": 3}, "did you mean 'scales'?"),
        ({"k": 5, "scales": "3"}, "m.scales: Part wants"),
    ],
)
def test_arguments_are_checked_by_name_and_type(options, said):
    with pytest.raises(PartError) as caught:
        check_arguments(Part, options, path="m")
    assert said in str(caught.value)
