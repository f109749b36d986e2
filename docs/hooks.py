"""Write the page of all parts from their docstrings when the site is built.

The sources are read as syntax trees, as `cellbench plugins` reads them: neither torch nor a plugin
is imported.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SOURCES = ("cellbench/models", "plugins/cellbench_plugins")
# The registries of cellbench/registry.py, in the order of the page, and what each holds.
ROLES = {
    "COUNTERS": "Methods",
    "MATCHERS": "Matchers",
    "DECODERS": "Decoders",
    "CONVS": "Convolutions",
    "BACKBONES": "Backbones",
    "HEADS": "Heads",
    "LOSSES": "Losses",
    "TARGETS": "Targets of density maps",
    "TRANSFORMS": "Transforms",
    "DATASETS": "Data sets",
    "SIMULATORS": "Simulators",
}
INTRODUCTION = """# Parts and their papers

Use a part by its name, as a `type` in a config or with `--set`. *Source* is the paper that it is
written from; *Differs* states where the code departs from the paper, and why. The options are those
of the constructor. `cellbench plugins` prints the same list, with the parts of other installed
packages.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page."""
    files.append(File.generated(config, "parts.md", content=page()))
    return files


def page() -> str:
    """Return the page as Markdown."""
    found = parts()
    sections = [INTRODUCTION]
    for registry, title in ROLES.items():
        sections.append(f"## {title}\n")
        sections += [_entry(name, node) for name, node in sorted(found[registry].items())]
    return "\n".join(sections)


def parts() -> dict[str, dict[str, ast.ClassDef]]:
    """Collect the registered classes by registry and name."""
    found: dict[str, dict[str, ast.ClassDef]] = {registry: {} for registry in ROLES}
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    for registry, name in _registered(node):
                        found[registry][name] = node
    return found


def _registered(node: ast.ClassDef) -> list[tuple[str, str]]:
    """List registry and name for each decorator that registers a class."""
    found = []
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(ast.Attribute(ast.Name(registry), "register_module"), _, keywords):
                given = [k.value for k in keywords if k.arg == "name"]
                names = [ast.literal_eval(value) for value in given] or [node.name]
                found += [(registry, name) for name in names if registry in ROLES]
    return found


def _entry(name: str, node: ast.ClassDef) -> str:
    """Format a part's heading, docstring without attributes, and options."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    text = re.split(r"\n\n(?:Attributes|Args):\n", text)[0]
    lines = [f"### {name}\n"]
    options = _options(node)
    blocks = re.split(r"\n(?=(?:Source|Differs):)", text)
    lines.append(blocks[0].strip() + "\n")
    for block in blocks[1:]:
        key, _, value = block.partition(":")
        body, *rest = value.strip().split("\n\n")
        lines.append(f"*{key}:* {' '.join(textwrap.dedent(body).split())}\n")
        lines += [textwrap.dedent(paragraph) + "\n" for paragraph in rest]
    if options:
        lines.append(f"Options: {', '.join(f'`{option}`' for option in options)}\n")
    return "\n".join(lines)


def _options(node: ast.ClassDef) -> list[str]:
    """List the options of the constructor with their defaults; empty if it is inherited."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            pairs = zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True)
            return [
                option.arg if default is None else f"{option.arg}={ast.unparse(default)}"
                for option, default in pairs
            ]
    return []
