"""Worker that runs Cellpose or StarDist with their own weights, in any environment that has them.

It needs only NumPy and the tool, not cellbench: `zero_shot.py` starts it as a script in another
Python, or calls `open_tool` where the tool is installed beside cellbench.

The protocol has one JSON object per line. The first line on standard input holds the tool and its
options, and the response describes the loaded model; each further line holds the path of an image
(`image`) and of the file to write (`answer`), both .npy without pickled objects, and the response
follows when that is done. A response with `error` holds an error message. Output of the tool
itself goes to standard error.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# An image (H, W, 3) uint8 in; rows of (x, y, score) out, x and y px from the image's corner.
Find = Callable[[Any], Any]


# The models that each tool's authors publish under a name. The config of a record may name only
# these, and no file: it is not trusted with a path of the user's machine.
MODELS = {
    "cellpose": (
        "cpsam",
        *("cyto", "cyto2", "cyto3", "nuclei"),
        *("cyto2_cp3", "tissuenet_cp3", "livecell_cp3", "yeast_PhC_cp3", "yeast_BF_cp3"),
        *("bact_phase_cp3", "bact_fluor_cp3", "deepbacs_cp3"),
    ),
    "stardist": ("2D_versatile_fluo", "2D_versatile_he", "2D_paper_dsb2018", "2D_demo"),
}

# Default models of the tools; cellpose's depends on its release.
DEFAULTS = {"cellpose": ("cpsam", "cyto3"), "stardist": ("2D_versatile_fluo",)}


class ToolError(Exception):
    """A tool or its weights are not available, or it failed on an image; one sentence."""


def open_tool(options: dict[str, Any]) -> tuple[Find, dict[str, Any]]:
    """Load a tool and its weights.

    Args:
        options: `tool`, "cellpose" or "stardist"; `weights`, a model name of the tool, a path, or
            None for the tool's default; for cellpose `diameter_px` of cells, None to let the tool
            choose.

    Returns:
        The function that finds cells; and a dict with the `version` of the tool, the name of the
        `weights`, and the `sha256` of their file or None.

    Raises:
        ToolError: the tool does not import or its weights are not available.
    """
    tool = options["tool"]
    weights = options.get("weights")
    for name in DEFAULTS[tool] if weights is None else {weights}.intersection(MODELS[tool]):
        if os.path.lexists(name):  # both tools prefer a file of this name
            raise ToolError(
                f"{tool} would take {str(Path(name).absolute())!r} for its model {name!r}; move "
                "that, or start from another folder."
            )
    load = {"cellpose": _cellpose, "stardist": _stardist}[tool]
    try:
        find, name, file = load(options)
    except ImportError as error:
        raise ToolError(f"{tool} does not import in {sys.executable} ({error}).") from None
    except Exception as error:  # a download, a file or the tool may fail in any way
        wanted = options.get("weights") or "default"
        raise ToolError(
            f"{tool}'s weights ({wanted}) cannot be had ({type(error).__name__}: "
            f"{_one_line(error)}); name a file of yours in model.weights."
        ) from None
    info = {"version": _version(tool), "weights": name, "sha256": _digest(file)}
    return find, info


def _cellpose(options: dict[str, Any]) -> tuple[Find, str, str]:
    # By name, so that type checkers do not need packages that only the other environment has.
    models: Any = import_module("cellpose.models")
    weights, diameter = options.get("weights"), options.get("diameter_px")
    sized = hasattr(models, "Cellpose")  # releases before 4 estimate diameters, by another model
    if sized and (weights is None or not Path(weights).exists()):
        weights = weights or "cyto3"
        model = models.Cellpose(gpu=False, model_type=weights)
        file = getattr(getattr(model, "cp", None), "pretrained_model", "")
    else:
        weights = weights or "cpsam"
        model = models.CellposeModel(gpu=False, pretrained_model=str(weights))
        file = getattr(model, "pretrained_model", "")
    grey = {"channels": [0, 0]} if sized else {}

    def find(image: Any) -> Any:
        masks, flows = model.eval(image, diameter=diameter, **grey)[:2]
        masks = np.asarray(masks)
        number = int(masks.max(initial=0))
        if not number:
            return np.zeros((0, 3), dtype=np.float32)
        y, x = np.nonzero(masks)
        label = masks[y, x]
        pixels = np.bincount(label, minlength=number + 1)[1:]
        logits = np.asarray(flows[2], dtype=np.float64)[y, x]
        columns = [
            np.bincount(label, weights=values, minlength=number + 1)[1:]
            for values in (x + 0.5, y + 0.5, 1 / (1 + np.exp(-logits)))
        ]
        found = np.stack(columns, axis=1)[pixels > 0] / pixels[pixels > 0, None]
        return found.astype(np.float32)

    return find, str(weights), file[0] if isinstance(file, list) else str(file)


def _stardist(options: dict[str, Any]) -> tuple[Find, str, str]:
    normalize = import_module("csbdeep.utils").normalize
    kind: Any = import_module("stardist.models").StarDist2D
    weights = options.get("weights") or "2D_versatile_fluo"
    folder = Path(weights)
    if folder.is_dir():
        model = kind(None, name=folder.name, basedir=str(folder.parent))
    else:
        model = kind.from_pretrained(weights)
        if model is None:
            raise ValueError("stardist knows no such model")
    channels = getattr(model.config, "n_channel_in", 1)
    files = sorted(Path(str(getattr(model, "logdir", ""))).glob("*.h5"))

    def find(image: Any) -> Any:
        seen = image.astype(np.float32)
        seen = seen if channels == 3 else seen.mean(axis=2)
        _, details = model.predict_instances(normalize(seen, 1, 99.8, axis=(0, 1)))
        points = np.asarray(details["points"], dtype=np.float32).reshape(-1, 2)
        scores = np.asarray(details["prob"], dtype=np.float32).reshape(-1, 1)
        return np.concatenate([points[:, ::-1] + 0.5, scores], axis=1)

    return find, str(weights), str(files[0]) if files else ""


def _version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _digest(file: str) -> str | None:
    path = Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest() if file and path.is_file() else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def main() -> None:
    """Respond line by line until standard input ends."""
    here = str(Path(__file__).parent)
    sys.path[:] = [path for path in sys.path if path != here]  # do not shadow the tool's modules
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keep the tool's own output apart from the responses

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        find, info = open_tool(json.loads(sys.stdin.readline()))
    except ToolError as error:
        answer({"error": str(error)})
        return
    answer(info)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = find(np.load(request["image"], allow_pickle=False))
            np.save(request["answer"], found, allow_pickle=False)
            answer({"cells": len(found)})
        except Exception as error:  # the tool may fail in any way
            answer({"error": f"it failed on an image ({type(error).__name__}: {_one_line(error)})"})


if __name__ == "__main__":
    main()
