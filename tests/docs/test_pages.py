"""Claims about the pages in docs/: their examples run, their commands and links exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cellbench.cli.main import main
from cellbench.plugin_index import entries

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# A fenced block that follows the mark, with its indentation.
EXAMPLE = re.compile(r"<!-- test -->\n( *)```(python|console)\n(.*?)\n *```", re.DOTALL)


def examples():
    for page in PAGES:
        for number, found in enumerate(EXAMPLE.finditer(page.read_text(encoding="utf-8"))):
            indent, language, text = found.groups()
            lines = [line.removeprefix(indent) for line in text.splitlines()]
            yield pytest.param(language, lines, id=f"{page.stem}-{number}")


@pytest.mark.parametrize(("language", "lines"), list(examples()))
def test_an_example_runs(language, lines, bench):
    if language == "python":  # in a process of its own, since it may register parts
        done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return
    for line in lines:
        assert line.startswith("$ cellbench "), line
        main(shlex.split(line.removeprefix("$ cellbench ")))


def test_every_command_in_the_pages_exists():
    from cellbench.cli.main import cli

    for page in PAGES:
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL):
            for name in re.findall(r"^ *(?:\$ )?cellbench ([a-z]+)", block, re.MULTILINE):
                assert cli.get_command(None, name) is not None, f"{page.name}: cellbench {name}"


def test_every_config_and_file_in_the_pages_exists():
    for page in PAGES:
        for name in re.findall(r"\bconfigs/[\w/]+\.py", page.read_text()):
            assert (DOCS.parent / name).is_file(), f"{page.name}: {name}"


def test_every_built_in_part_is_on_the_generated_page(monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(DOCS))
    import hooks

    listed = {name for named in hooks.parts().values() for name in named}
    assert listed == {entry.name for entry in entries() if entry.distribution == "cellbench"}
    text = hooks.page()
    assert "*Source:* P2PNet" in text
    assert "Attributes:" not in text
