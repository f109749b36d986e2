"""Export of a trained network as ONNX, for programs without PyTorch.

The file holds only the network, from normalised pixels to its outputs. Preprocessing and
postprocessing (how cells are read from the outputs) are described in the file's metadata and in a
JSON file beside it. A file is written only if onnxruntime's outputs match PyTorch's.
"""

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellbench.counting.onnx_operators import OPSET, operators_known
from cellbench.counting.trained_counter import TrainedCounter, load_counter
from cellbench.errors import UserError
from cellbench.files.writing import safe_id, write_atomically
from cellbench.models.counter import CellCounter
from cellbench.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from cellbench.records.trained_runs import TrainedRun
from cellbench.version import __version__

INPUT = "pixels"
METADATA = "cellbench"
"""Key of the ONNX metadata that holds the text of the JSON file too."""

# Allowed difference, relative to the largest output: operators in another order round differently.
_MOST_DIFFERENCE = 1e-3
# Edge of the input, px, of a network that is exported for one size only.
_ONE_SIZE_PX = 512
# (images, height, width) of the traced input and of two test inputs; sides in padding multiples.
_TRACED, _TRIED = (2, 4, 3), ((1, 2, 5), (3, 3, 3))


@dataclass(frozen=True, slots=True)
class ExportedNetwork:
    """Files of an exported network.

    Attributes:
        file: the ONNX file.
        sidecar: JSON file with preprocessing and postprocessing.
        difference: largest difference between PyTorch and onnxruntime, relative to the largest
            output.
        size: (width, height) of the input, px; None if any multiple of the padding is accepted.
    """

    file: Path
    sidecar: Path
    difference: float
    size: tuple[int, int] | None


def export_network(
    run: TrainedRun, out: Path | None, *, trust_weights: bool = False, force: bool = False
) -> ExportedNetwork:
    """Write the network of a run as ONNX, batch norms folded, with its JSON file.

    Args:
        run: a run with weights.
        out: the ONNX file; None for one in the working folder, named after method and set.
        trust_weights: accept weights whose hash is not the record's.
        force: replace existing files.

    Raises:
        UserError: a package is missing, the method cannot be exported, onnxruntime's outputs
            differ, or the file exists or cannot be written.
    """
    method, dataset = run.record["method"], run.record["dataset"]
    file = out or Path(safe_id(f"{method}-{dataset}") + ".onnx")
    sidecar = file.with_suffix(".json")
    for path in (file, sidecar):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name another file with --out, such as net.onnx.")
    there = [path for path in (file, sidecar) if path.exists()]
    if there and not force:
        raise UserError(f"There is a file {there[0]}; add --force to replace it, or name --out.")
    counter = load_counter(run, device="cpu", trust_weights=trust_weights)
    content, size, difference = onnx_of(counter.network, method)
    facts = _facts(run, counter, size, difference)
    text = json.dumps(facts, indent=1) + "\n"
    onnx = import_optional("onnx")
    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "cellbench", __version__
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, text
    write_atomically(file, model.SerializeToString(), elsewhere="--out")
    write_atomically(sidecar, text.encode("ascii"), elsewhere="--out")
    return ExportedNetwork(file, sidecar, difference, size)


def onnx_of(counter: CellCounter, method: str) -> tuple[bytes, tuple[int, int] | None, float]:
    """Export the network of a counter to ONNX, and compare its outputs with PyTorch's.

    Input sizes are dynamic if the network allows it; else it is exported for one size.

    Args:
        counter: in evaluation mode, on the CPU.
        method: its name, for messages.

    Returns:
        The content of the file; (width, height) of the input, px, None for any multiple of the
        padding; the largest difference, relative to the largest output.

    Raises:
        UserError: it cannot be exported, or onnxruntime's outputs differ.
    """
    if not counter.answers:
        raise UserError(f"{method} cannot be exported: {counter.no_export}.")
    for package in ("onnx", "onnxruntime"):
        import_optional(package)
    multiple = counter.data_preprocessor.size_multiple
    edge = -(-_ONE_SIZE_PX // multiple) * multiple
    reasons: list[str] = []
    any_size = [
        _pixels(many, multiple * rows, multiple * columns)
        for many, rows, columns in (_TRACED, *_TRIED)
    ]
    for tried in (any_size, [_pixels(1, edge, edge)]):
        free = len(tried) > 1
        try:
            content = _traced(counter, tried[0], free=free)
            difference = max(_difference(counter, content, pixels) for pixels in tried)
        except Exception as error:  # exporter and runtime document no exception types
            reasons.append(" ".join(str(error).split()) or type(error).__name__)
            continue
        if difference <= _MOST_DIFFERENCE:
            return content, None if free else (edge, edge), difference
        reasons.append(f"the answers differ by {difference:.2g} of the largest one")
    raise UserError(
        f"{method} cannot be exported: PyTorch {torch.__version__} and onnxruntime "
        f"{import_optional('onnxruntime').__version__} do not agree on it ({reasons[-1][:200]})."
    )


def import_optional(package: str) -> Any:
    """Import and return a package of the extra `onnx`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise UserError(
            f"An export needs the package {package}: pip install 'cellbench[onnx]'."
        ) from None


class _Answers(nn.Module):
    """Module whose forward pass is exported."""

    def __init__(self, counter: CellCounter) -> None:
        super().__init__()
        self.counter = counter

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.counter.answer(pixels)


def _pixels(images: int, height: int, width: int) -> Tensor:
    """Return normalised noise, (images, 3, height, width): no path of a network is idle on it."""
    generator = torch.Generator().manual_seed(height + width)
    pixels = torch.rand(images, 3, height, width, generator=generator)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


@torch.no_grad()
def _traced(counter: CellCounter, pixels: Tensor, *, free: bool) -> bytes:
    """Trace a network and return it as ONNX.

    PyTorch's older exporter is used: it keeps height and width dynamic in networks in which the
    newer one does not, takes a second instead of half a minute, and needs no further package.

    Args:
        counter: the network.
        pixels: input to trace with.
        free: whether the numbers of images, rows and columns are dynamic.
    """
    axes = {0: "images", 2: "height", 3: "width"}
    stream: Any = io.BytesIO()  # the exporter accepts it, but its annotations do not
    with warnings.catch_warnings():
        # It warns that it is deprecated, and of each number read from a shape; the outputs for
        # other shapes are compared afterwards.
        warnings.simplefilter("ignore")
        with operators_known():
            torch.onnx.export(
                _Answers(counter).eval(),
                (pixels,),
                stream,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(counter.answers),
                dynamic_axes={INPUT: axes} if free else None,
            )
    return stream.getvalue()


@torch.no_grad()
def _difference(counter: CellCounter, content: bytes, pixels: Tensor) -> float:
    """Return the largest relative difference between outputs of PyTorch and onnxruntime.

    It is infinite for outputs of other shapes or with values that are not finite.
    """
    runtime = import_optional("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its messages are in the exception too
    session = runtime.InferenceSession(
        content, sess_options=options, providers=["CPUExecutionProvider"]
    )
    found: Sequence[Any] = session.run(None, {INPUT: pixels.numpy()})
    worst = 0.0
    for expected, other in zip(counter.answer(pixels), found, strict=True):
        wanted = expected.numpy()
        if wanted.shape != other.shape or not np.isfinite(other).all():
            return np.inf
        largest = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        worst = max(worst, float(np.abs(wanted - other).max(initial=0)) / largest)
    return worst


def _facts(
    run: TrainedRun, counter: TrainedCounter, size: tuple[int, int] | None, difference: float
) -> dict[str, Any]:
    """Return the content of the JSON file: the run, preprocessing and postprocessing."""
    keys = ("run_id", "method", "dataset", "protocol", "split", "seed", "thresholds")
    width, height = size or (None, None)
    return {
        **{key: run.record[key] for key in keys},
        "weights_sha256": run.weights_sha256,
        "input": {
            "name": INPUT,
            "layout": "(images, 3, height, width) float32, red, green and blue",
            "prepare": [dict(transform) for transform in run.config.data.prepare],
            "scale": counter.input_scale,
            "resampling": "bilinear with antialiasing (as Pillow's), edges rounded up",
            "range": [0.0, 1.0],
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "padding": "zeros after normalisation, at the right and below",
            "multiple": counter.network.data_preprocessor.size_multiple,
            "height": height,
            "width": width,
        },
        "outputs": dict(counter.network.answers),
        "reading": counter.network.reading(),
        "calibration": None if counter.calibration is None else counter.calibration.plain(),
        "opset": OPSET,
        "difference": difference,
        "cellbench": __version__,
    }
