"""Scaffold of a plugin package with one working part, to start from."""

import ast
import importlib.util
import keyword
import re
from contextlib import suppress
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from cellbench import plugin_index
from cellbench.config.sources import package_folders
from cellbench.data.contracts import DataSet
from cellbench.data.images import image_size
from cellbench.data.own_sets.measurements import SetStatistics, measure
from cellbench.errors import UserError
from cellbench.testing.contract_claim import ContractError

# Config text that puts a part into a method, and a shipped method to compare with.
_PLACES = {
    "matcher": 'matcher=dict(_delete_=True, type="$part")',
    "conv": 'decoder=dict(conv=dict(_delete_=True, type="$part"))',
    "decoder": 'decoder=dict(_delete_=True, type="$part")',
}
_RIVALS = dict.fromkeys(_PLACES, "p2pnet") | {"method": "fcrn"}
# Approximate training steps of the epochs in a new set's config.
_STEPS = 400


def write_package(
    kind: str, name: str, parent: Path, pictures: Path | None
) -> SetStatistics | None:
    """Write a package into a new folder of its name.

    Args:
        kind: matcher, conv, decoder, method or dataset.
        name: name of the package and of a data set; of another part in CamelCase.
        parent: folder in which the new folder is written.
        pictures: annotated images of a data set, from which its config is measured.

    Returns:
        The measurements; None without images.

    Raises:
        UserError: the name is invalid or taken, the folder exists, or the images cannot be read
            as the data set reads them.
    """
    part = "".join(word.capitalize() for word in name.split("_"))
    folder = parent / name
    _check_name(name, part, folder)
    words = {"package": name, "part": part, "role": kind, "rival": _RIVALS.get(kind, "")}
    code = _filled(kind, words)
    _check_part(name, part, code)
    files = {"pyproject.toml": "pyproject.toml", f"{name}/{kind}.py": kind}
    measured = None
    if kind == "dataset":
        if pictures is not None:
            measured = _measure(code, name, part, pictures)
        found = measured or SetStatistics(20, 0)
        words |= {"title": _title(measured), "epochs": f"{_epochs(found.images)}"}
        words |= {"radius_px": f"{found.radius_px}", "input_scale": f"{found.input_scale}"}
        words |= {"crop": f"{found.crop_px}"}
        files[f"{name}/configs/datasets/{name}.py"] = "config_dataset"
        files[f"tests/test_{name}.py"] = "test_dataset"
    else:
        words |= {"model": Template(_PLACES.get(kind, "")).substitute(words)}
        config = "config_method" if kind == "method" else "config_part"
        files[f"{name}/configs/methods/{name}.py"] = config
        files[f"{name}/configs/grids/{name}.py"] = "grid"
        files[f"tests/test_{name}.py"] = "test"
    texts = {place: _filled(template, words) for place, template in files.items()}
    texts[f"{name}/__init__.py"] = f'"""A {kind} for cellbench."""\n'
    try:
        for place, text in texts.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); see its rights.") from None
    return measured


def _filled(template: str, words: dict[str, str]) -> str:
    file = resources.files("cellbench") / "templates" / f"{template}.txt"
    return Template(file.read_text(encoding="utf-8")).substitute(words)


def _check_name(name: str, part: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name) or keyword.iskeyword(name):
        raise UserError(
            f"A package is named in 2 to 40 lower-case letters, digits and underscores, with a "
            f"letter first, such as my_cells, and not {name[:60]!r}."
        )
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} exists; name another package, or remove it.")
    taken = {entry.name.casefold(): entry for entry in plugin_index.entries()}
    for used in (name, part.casefold()):
        if used in taken:
            entry = taken[used]
            raise UserError(
                f"{entry.distribution} has a {entry.role} called {entry.name}; name another."
            )
    shipped = package_folders()["cellbench"]
    for file in sorted(shipped.glob(f"*/{name}.py")):
        kind = file.parent.name.removesuffix("s").replace("dataset", "data set")
        raise UserError(
            f"cellbench has a {kind} config {name!r}, which one of yours would hide; name another."
        )
    if importlib.util.find_spec(name) is not None:
        raise UserError(f"There is a module {name!r} already; name another package.")


def _check_part(name: str, part: str, code: str) -> None:
    """Refuse a name whose class would be a keyword, or would shadow an import of its module."""
    used: set[str] = set()
    with suppress(SyntaxError):  # class None
        tree = ast.parse(code)
        nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        used = {alias.asname or alias.name for node in nodes for alias in node.names}
    if keyword.iskeyword(part) or part in used:
        raise UserError(
            f"The class of {name!r} would be called {part}, which is a word of Python or of its "
            "module; name another."
        )


def _title(measured: SetStatistics | None) -> str:
    if measured is None:
        return "The data set of this package; set what its pictures need."
    return f"{measured.images} pictures with {measured.cells} cells, as they were measured."


def _measure(code: str, name: str, part: str, pictures: Path) -> SetStatistics:
    """Read annotated images as the new package will, and measure them.

    Raises:
        UserError: they cannot be read.
    """
    from cellbench.testing.data import check_raw_copy  # imports torch, which takes seconds

    if not pictures.is_dir():
        raise UserError(f"{pictures} is no folder; name the one that holds the pictures.")
    names: dict[str, Any] = {"__name__": f"cellbench.new.{name}"}
    unregistered = re.sub("^@DATASETS.*$", "", code, flags=re.MULTILINE)
    exec(compile(unregistered, f"{name}.py", "exec"), names)
    dataset: DataSet = names[part]()
    try:
        items = check_raw_copy(dataset, pictures)
    except ContractError as error:
        raise UserError(f"{pictures} cannot be taken: {error}; mend the annotation.") from None
    sizes = [image_size(item.image) for item in items]
    points = [
        dataset.read_annotation(item, size=size).points
        for item, size in zip(items, sizes, strict=True)
    ]
    cells = sum(map(len, points))
    if not cells:
        raise UserError(f"{pictures} has {len(items)} pictures and no cell; see their dots.")
    return measure(points, sizes)


def _epochs(images: int) -> int:
    """Compute the epochs over 60 % of the images, in batches of four, that make some 400 steps."""
    return max(10, _STEPS // max(1, round(0.6 * images / 4)))
