"""Trained models kept by name: those shipped with cellbench, and those of the user."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellbench import paths
from cellbench.errors import UserError
from cellbench.files.writing import LONGEST_ID, safe_id, write_atomically
from cellbench.records.expected_error import copy_recommendation
from cellbench.records.run_files import RECORD, WEIGHTS

DEFAULT = "nuclei-unet"
"""Model used where no run is specified: the shipped one of least error on validation images."""

_SHIPPED = Path(__file__).resolve().parents[1] / "shipped_models"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """Trained model kept by name.

    Attributes:
        name: value of `--with`.
        folder: folder of its record and weights.
        shipped: whether it comes with cellbench.
    """

    name: str
    folder: Path
    shipped: bool


def models_folder() -> Path:
    """Return the folder of the user's models."""
    return paths.home() / "models"


def kept_models() -> Iterator[KeptModel]:
    """Yield all models by name; a user's model replaces a shipped one of the same name."""
    found: dict[str, KeptModel] = {}
    for place, shipped in ((_SHIPPED, True), (models_folder(), False)):
        if not place.is_dir():
            continue
        for folder in place.iterdir():
            if (folder / RECORD).is_file() and (folder / WEIGHTS).is_file():
                found[folder.name] = KeptModel(folder.name, folder, shipped)
    yield from (found[name] for name in sorted(found))


def find_model(name: str) -> Path | None:
    """Return the folder of a model; None if there is none of that name."""
    return next((model.folder for model in kept_models() if model.name == name), None)


def is_shipped(name: str) -> bool:
    """Check whether the model of a name comes with cellbench."""
    return any(model.shipped for model in kept_models() if model.name == name)


def keep_model(record_file: Path, weights: Path, name: str, *, force: bool = False) -> Path:
    """Copy the record and the weights of a run to where `--with NAME` finds them.

    The recommendation beside the weights of a run by `recommend`, which holds its error, is copied
    with them.

    Args:
        record_file: record of a run.
        weights: weights that the record scored.
        name: at most 100 letters, digits, `-`, `_` and `.`.
        force: replace the model of that name.

    Raises:
        UserError: the name is invalid or taken, or the folder cannot be written.
    """
    if not name.strip(".") or safe_id(name) != name:
        raise UserError(
            f"{name if len(name) <= LONGEST_ID else name[:40] + '...'!r} cannot name a model; "
            f"allowed are at most {LONGEST_ID} letters, digits, '-', '_' and '.'."
        )
    if (_SHIPPED / name).is_dir() and not force:
        raise UserError(
            f"{name!r} comes with cellbench; keep yours under another --name, or add --force for "
            "yours to count in its place."
        )
    folder = models_folder() / name
    if folder.exists() and not force:
        raise UserError(f"There is a model {name!r} in {folder}; add --force to replace it.")
    # The record is removed first and written last: a folder without one is no model.
    (folder / RECORD).unlink(missing_ok=True)
    copy_recommendation(weights.parent, folder)
    write_atomically(folder / WEIGHTS, weights.read_bytes())
    write_atomically(folder / RECORD, record_file.read_bytes())
    return folder
