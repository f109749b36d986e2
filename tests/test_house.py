"""Claims about the house: short modules, a name for each that no other has, no circles."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import cellbench

MODULES = sorted(Path(cellbench.__file__).parent.rglob("*.py"))
MOST_LINES = 350
PACKAGE = Path(cellbench.__file__).parents[1]
BY_NAME = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in MODULES
}


def test_no_module_is_longer_than_a_few_screens():
    long = [file for file in MODULES if len(file.read_text().splitlines()) > MOST_LINES]
    assert len(MODULES) > 200
    assert not long


def test_no_two_modules_share_a_name():
    # A command has the name of what it does, `data.py` that of what it tests.
    named = Counter(
        file.name
        for file in MODULES
        if file.name != "__init__.py" and file.parent.name not in ("cli", "api")
    )
    assert [name for name, times in named.items() if times > 1] == []


def imported(file: Path) -> Iterator[Path]:
    """The modules of cellbench that a file imports anywhere in it, for type checkers too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in BY_NAME else str(node.module) for name in inside]
        else:
            continue
        yield from (BY_NAME[name] for name in names if name in BY_NAME)


def test_no_modules_import_each_other_in_a_circle():
    graph = {file: set(imported(file)) for file in MODULES}
    assert sum(len(files) for files in graph.values()) > 1000
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = [str(file.relative_to(PACKAGE)) for file in error.args[1]]
        raise AssertionError(" <- ".join(circle)) from None
