"""Write a trained network as ONNX, for programs without PyTorch.

What is written is the network alone, from normalised pixels to its answers. How pixels come to be
and how cells are read from the answers is data beside it, in the file's metadata and as JSON. A
file is kept only if onnxruntime gives what PyTorch gives.
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
"""Key of the file's metadata under which the JSON of the file beside it stands too."""

# Of the largest answer: the same operators in another order round otherwise, and no more.
_MOST_DIFFERENCE = 1e-3
# Edge of pictures, px, for a network that takes one size alone.
_ONE_SIZE_PX = 512
# In multiples of what sides are padded to: (images, height, width) of what is traced, and tried.
_TRACED, _TRIED = (2, 4, 3), ((1, 2, 5), (3, 3, 3))


@dataclass(frozen=True, slots=True)
class ExportedNetwork:
    """A network that was written.

    Attributes:
        file: ONNX.
        sidecar: JSON with what goes before and after it.
        difference: the largest between PyTorch and onnxruntime, relative to the largest answer.
        size: (width, height) px that it takes; None where it takes any multiple of the padding.
    """

    file: Path
    sidecar: Path
    difference: float
    size: tuple[int, int] | None


def export_network(
    run: TrainedRun, out: Path | None, *, trust_weights: bool = False, force: bool = False
) -> ExportedNetwork:
    """Write the network of a run, batch norms folded, and what goes before and after it.

    Args:
        run: whose weights are at hand.
        out: the file; None for one in the working folder that is named after method and set.
        trust_weights: take weights of another hash than the record's.
        force: replace a file that is there.

    Raises:
        UserError: a package is missing, the method cannot be exported, onnxruntime gives other
            answers, or the file is there or cannot be written.
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
    onnx = needed("onnx")
    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "cellbench", __version__
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, text
    write_atomically(file, model.SerializeToString(), elsewhere="--out")
    write_atomically(sidecar, text.encode("ascii"), elsewhere="--out")
    return ExportedNetwork(file, sidecar, difference, size)


def onnx_of(counter: CellCounter, method: str) -> tuple[bytes, tuple[int, int] | None, float]:
    """The network of a counter as ONNX, checked against it.

    Args:
        counter: in evaluation mode, on the CPU.
        method: its name, for messages.

    Returns:
        The file; (width, height) px that it takes, None for any multiple of the padding; the
        largest difference, relative to the largest answer.

    Raises:
        UserError: it cannot be exported, or onnxruntime gives other answers.
    """
    if not counter.answers:
        raise UserError(f"{method} cannot be exported: {counter.no_export}.")
    for package in ("onnx", "onnxruntime"):
        needed(package)
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
        except Exception as error:  # exporter and runtime raise whatever they like
            reasons.append(" ".join(str(error).split()) or type(error).__name__)
            continue
        if difference <= _MOST_DIFFERENCE:
            return content, None if free else (edge, edge), difference
        reasons.append(f"the answers differ by {difference:.2g} of the largest one")
    raise UserError(
        f"{method} cannot be exported: PyTorch {torch.__version__} and onnxruntime "
        f"{needed('onnxruntime').__version__} do not agree on it ({reasons[-1][:200]})."
    )


def needed(package: str) -> Any:
    """Import a package of the extra `onnx`.

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
    """The pass that is exported."""

    def __init__(self, counter: CellCounter) -> None:
        super().__init__()
        self.counter = counter

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.counter.answer(pixels)


def _pixels(images: int, height: int, width: int) -> Tensor:
    """Normalised noise: every path of a network has something to say to it."""
    generator = torch.Generator().manual_seed(height + width)
    pixels = torch.rand(images, 3, height, width, generator=generator)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


@torch.no_grad()
def _traced(counter: CellCounter, pixels: Tensor, *, free: bool) -> bytes:
    """The file that PyTorch writes for a network.

    Of its two exporters this is the older one: it keeps height and width free in networks in which
    the newer one does not, takes a second where that takes half a minute, and needs no further
    package.

    Args:
        counter: whose answers are written.
        pixels: that are followed through it.
        free: whether images, height and width may be others.
    """
    axes = {0: "images", 2: "height", 3: "width"}
    stream: Any = io.BytesIO()  # which the exporter takes, and does not declare
    with warnings.catch_warnings():
        # Of its age, and of every number that is read from a shape: what that does is checked.
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
    """The largest difference between PyTorch's answers and onnxruntime's, relative."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it says is in the error too
    session = runtime.InferenceSession(
        content, sess_options=options, providers=["CPUExecutionProvider"]
    )
    found: Sequence[Any] = session.run(None, {INPUT: pixels.numpy()})
    worst = 0.0
    for own, other in zip(counter.answer(pixels), found, strict=True):
        wanted = own.numpy()
        if wanted.shape != other.shape or not np.isfinite(other).all():
            return np.inf
        largest = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        worst = max(worst, float(np.abs(wanted - other).max(initial=0)) / largest)
    return worst


def _facts(
    run: TrainedRun, counter: TrainedCounter, size: tuple[int, int] | None, difference: float
) -> dict[str, Any]:
    """What goes before and after the network, JSON-able."""
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
