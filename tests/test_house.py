"""Claims about the house: short modules, and a name for each that no other has."""

from collections import Counter
from pathlib import Path

import cellbench

MODULES = sorted(Path(cellbench.__file__).parent.rglob("*.py"))
MOST_LINES = 350


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
