"""Folders of cellbench: the home and the store.

The home has data sets and weights, shared by all projects of a user. The store has run folders and
leaderboards; it is the working folder by default.
"""

import os
from pathlib import Path

SET_CONFIG = "data.json"
"""Config of a set of the user's own, in its folder; its `data`, which the user may change."""
PEOPLE = "people.json"
"""Counts of a set's images by each of several people, if the import has kept them."""
LONGEST_SET_NAME = 100
"""Most characters of a set's name: names of files add to it, and may have 255."""


def home() -> Path:
    """Return the folder of data sets and weights: `$CELLBENCH_HOME`, else `~/.cache/cellbench`.

    Backbone weights are in `weights/`, one `<arch>.safetensors` per architecture.
    """
    value = os.environ.get("CELLBENCH_HOME")
    return Path(value).expanduser() if value else Path.home() / ".cache" / "cellbench"


def data_folder(name: str) -> Path:
    """Return the folder of a data set in its canonical form."""
    return home() / "data" / name


def store(folder: str | Path | None = None) -> Path:
    """Return the folder that holds `runs/` and `leaderboards/`.

    Args:
        folder: value of `--store`; if None `$CELLBENCH_STORE`, else the working folder.
    """
    if folder is not None:
        return Path(folder).expanduser()
    value = os.environ.get("CELLBENCH_STORE")
    return Path(value).expanduser() if value else Path.cwd()
