"""Where cellbench keeps things.

Two places: the home (data sets and weights, shared by all projects of a user) and the store
(run folders and leaderboards, of the working folder unless told otherwise).
"""

import os
from pathlib import Path

SET_CONFIG = "data.json"
"""Config of a set of the user's own, in its folder; its `data`, which the user may change."""
PEOPLE = "people.json"
"""What each of several people counted in its pictures, where an import kept that."""
LONGEST_SET_NAME = 100
"""Characters of a set's name: files that are named after it add to it, and 255 are the most."""


def home() -> Path:
    """The folder of data sets and weights: `$CELLBENCH_HOME`, else `~/.cache/cellbench`.

    Backbone weights are in `weights/`, one `<arch>.safetensors` an architecture.
    """
    value = os.environ.get("CELLBENCH_HOME")
    return Path(value).expanduser() if value else Path.home() / ".cache" / "cellbench"


def data_folder(name: str) -> Path:
    """The folder of one data set in its canonical form."""
    return home() / "data" / name


def store(folder: str | Path | None = None) -> Path:
    """The folder that holds `runs/` and `leaderboards/`.

    Args:
        folder: what `--store` named; else `$CELLBENCH_STORE`, else the working folder.
    """
    if folder is not None:
        return Path(folder).expanduser()
    value = os.environ.get("CELLBENCH_STORE")
    return Path(value).expanduser() if value else Path.cwd()
