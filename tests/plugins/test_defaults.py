"""Claims about the defaults of parts, which a config that leaves them out relies on."""

import ast
import json
from pathlib import Path

from cellbench.plugin_index import entries

KEPT = Path(__file__).with_name("defaults.json")


def defaults():
    """The defaults of each built-in part, as they are written."""
    found = {}
    for entry in entries():
        if entry.distribution == "cellbench":
            for made in (n for n in entry.node.body if getattr(n, "name", "") == "__init__"):
                options = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
                values = {a.arg: ast.unparse(value) for a, value in options if value is not None}
                found[f"{entry.role} {entry.name}"] = values
    return {part: values for part, values in found.items() if values}


def test_the_defaults_of_parts_are_those_that_records_were_made_with():
    """A config that leaves an option out has the same hash after its default changed.

    Where a default has to change, write the old value into the configs that rely on it, or raise
    their `recipe`; then `python tests/plugins/test_defaults.py` writes the new list.
    """
    assert defaults() == json.loads(KEPT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    KEPT.write_text(json.dumps(defaults(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
