"""Pretrained weights of trunks: search, checks, loading, and their source for the record.

Search order: `$CELLBENCH_HOME/weights/<arch>.safetensors`, torchvision's cache or download (unless
`$CELLBENCH_OFFLINE` is set), and random filters with a warning. A file that exists but is invalid
is an error, never skipped.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cellbench.data.download import download
from cellbench.errors import UserError
from cellbench.files.writing import sha256_file
from cellbench.paths import home

Say = Callable[[str], None]

GIVE_UP_S = 5.0
LARGEST_BYTES = 4 * 2**30

# Known files by SHA-256, with the names that records use.
KNOWN = {
    "db6038914aaf98289e12742a1a3200dad851c3f8658b76930a72648c8de33cf2": "vgg16-imagenet",
    "95785e509a665c05bbc2a9c6aec3551d9722ff825cbbf9cddefdcf35fefc869b": "vgg16-imagenet+bn",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Source of a trunk's starting weights; part of the record.

    Attributes:
        source: "vgg16-imagenet+bn", "torchvision:vgg16_bn.IMAGENET1K_V1", "file:vgg16_bn" for a
            file of the user's own, or "random".
        sha256: of the file, hex; None for random weights.
        arch: of the trunk, as torchvision names it; empty if it has no name there.
    """

    source: str
    sha256: str | None = None
    arch: str = ""


RANDOM = WeightsInfo("random")


def load_trunk_weights(
    module: nn.Module, arch: str, *, say: Say | None = None, give_up_s: float = GIVE_UP_S
) -> WeightsInfo:
    """Load ImageNet weights into a trunk, in place.

    Args:
        module: its parameters are named as in torchvision; it may be the first part of `arch`.
        arch: a model of torchvision, and the stem of the file's name.
        say: receives one sentence for the user; by default it is logged as a warning.
        give_up_s: seconds without data after which a server counts as unreachable.

    Returns:
        Source and hash of the loaded weights.

    Raises:
        UserError: a file exists but is damaged, of another architecture, or not finite.
    """
    say = say or _log.warning
    path = home() / "weights" / f"{arch}.safetensors"
    if path.exists() or path.is_symlink():
        tensors, digest = _read_safetensors(path)
        _load(module, tensors, path, arch)
        return WeightsInfo(KNOWN.get(digest, f"file:{arch}"), digest, arch)
    try:
        name, found = _torchvision_file(arch, say, give_up_s)
    except UserError as error:
        reason = str(error).rstrip(".")
        say(
            f"{reason}; {path} does not exist either, so the {arch} trunk starts from random "
            "filters and will score worse."
        )
        return WeightsInfo("random", None, arch)
    try:
        tensors = torch.load(found, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may fail in any way
        raise UserError(
            f"{found} is not a readable weights file ({type(error).__name__}); delete it to have "
            "it downloaded again."
        ) from None
    _load(module, tensors, found, arch)
    return WeightsInfo(f"torchvision:{name}", sha256_file(found), arch)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a file and its SHA-256, both from the same bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if not path.is_file():
            raise UserError(f"{path} is not a file; put safetensors weights there or remove it.")
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes, more than any trunk's weights "
                f"({LARGEST_BYTES} at most); replace or remove it."
            )
        content = path.read_bytes()
        return load(content), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); mend its permissions or remove it."
        ) from None
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is not a readable safetensors file ({reason}); replace or remove it."
        ) from None


def _load(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, arch: str) -> None:
    """Check names, shapes and values, then copy; casts to the dtype of the module.

    Names that the module lacks are ignored: it may be the first stages of the architecture.
    """
    wanted = module.state_dict()
    for name, target in wanted.items():
        if name.endswith("num_batches_tracked"):
            continue
        given = tensors.get(name) if isinstance(tensors, Mapping) else None
        if not isinstance(given, Tensor) or not given.is_floating_point():
            raise _unfit(path, arch, f"it has no float tensor {name!r}")
        if given.shape != target.shape:
            shapes = f"{tuple(given.shape)} and not {tuple(target.shape)}"
            raise _unfit(path, arch, f"{name!r} is of shape {shapes}")
        cast = given.to(target.dtype)
        if not torch.isfinite(cast).all():
            raise _unfit(path, arch, f"{name!r} holds values that are not finite")
        if name.endswith("running_var") and (cast < 0).any():
            raise _unfit(path, arch, f"{name!r} holds negative variances")
    with torch.no_grad():
        for name, target in wanted.items():
            if not name.endswith("num_batches_tracked"):
                target.copy_(tensors[name])


def _unfit(path: Path, arch: str, reason: str) -> UserError:
    return UserError(f"{path} does not fit {arch}: {reason}; replace or remove it.")


def _torchvision_file(arch: str, say: Say, give_up_s: float) -> tuple[str, Path]:
    """Return name and file of torchvision's default weights, downloaded if not in its cache."""
    from torchvision.models import get_model_weights

    try:
        weights = get_model_weights(arch).DEFAULT
    except ValueError:
        raise UserError(f"Torchvision has no weights called {arch}.") from None
    file_name = weights.url.rpartition("/")[2]
    # torchvision names a file after the first digits of its SHA-256: vgg16_bn-6c64b313.pth
    prefix = Path(file_name).stem.rpartition("-")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not (path.is_file() and sha256_file(path).startswith(prefix)):
        if os.environ.get("CELLBENCH_OFFLINE"):
            raise UserError(f"CELLBENCH_OFFLINE is set, so {weights.url} is not downloaded.")
        _download(weights.url, path, prefix, say, give_up_s)
    return f"{arch}.{weights.name}", path


def _download(url: str, path: Path, prefix: str, say: Say, give_up_s: float) -> None:
    announced = False

    def announce(_: int, total: int | None) -> None:
        nonlocal announced
        if not announced:
            size = f" ({total / 1e6:.0f} MB)" if total else ""
            say(f"Downloading ImageNet weights from {url}{size}.")
        announced = True

    download(url, path, timeout_s=give_up_s, progress=announce)
    if not sha256_file(path).startswith(prefix):
        path.unlink(missing_ok=True)
        raise UserError(f"What came from {url} is damaged, by its SHA-256.")
