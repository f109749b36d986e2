"""Checkpoints to resume from and kept weights, both written atomically."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from cellbench.errors import RunError, UserError
from cellbench.files.locks import HELD
from cellbench.files.writing import sync
from cellbench.records.run_files import PLAN

LAST = "last.pth"
FORMAT = 2  # of a checkpoint; 1 was that of mmengine's Runner


def replace_file(temporary: Path, final: Path) -> None:
    """Move a finished temporary file to its final path, durably."""
    with temporary.open("rb+") as file:
        sync(file.fileno())
    temporary.replace(final)


def save_weights(network: nn.Module, file: Path) -> None:
    """Write a network's state as safetensors.

    Raises:
        RunError: the disk is full or not writable.
    """
    # The format stores contiguous tensors, and refuses those that share memory.
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    temporary = file.with_name(file.name + ".tmp")
    try:
        temporary.write_bytes(safetensors.torch.save(state))
        replace_file(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"{file} cannot be written ({error.strerror}); free space and run again."
        ) from None


def load_weights(network: nn.Module, file: Path) -> None:
    """Load weights that `save_weights` wrote into a network of the same config.

    Raises:
        UserError: the file is damaged, not safetensors, or of another network.
    """
    try:
        state = safetensors.torch.load_file(file)
        network.load_state_dict(state, strict=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file} does not hold this method's weights ({reason}).") from None


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint of a run atomically.

    Raises:
        RunError: the disk is full or not writable; the previous checkpoint stays.
    """
    temporary = folder / f"{LAST}.tmp"
    try:
        torch.save({"format": FORMAT, **content}, temporary)
        replace_file(temporary, folder / LAST)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RunError(
            f"The checkpoint in {folder} cannot be written ({reason}); free space and run again, "
            "which goes on from the checkpoint before."
        ) from None


def load_checkpoint(file: Path, device: torch.device | str) -> dict[str, Any]:
    """Load a checkpoint that `save_checkpoint` wrote, without running pickled code."""
    content: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    return content


def clear(folder: Path, *, resume: bool, say: Callable[[str], None]) -> None:
    """Empty a run's folder, except for its lock and plan, unless its training can be resumed.

    Args:
        folder: of the run.
        resume: False empties the folder in any case.
        say: receives a sentence on a checkpoint that cannot be used.
    """
    last = folder / LAST
    problem = why_unusable(last) if resume and last.is_file() else None
    if problem is not None:
        say(f"The checkpoint {last} {problem}; the run starts over.")
    elif resume:
        return
    for path in folder.iterdir():
        if path.name in ("lock", f"lock{HELD}", PLAN):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def why_unusable(file: Path) -> str | None:
    """Return why a checkpoint cannot be resumed, as the end of a sentence; None if it can."""
    try:
        content = load_checkpoint(file, "meta")
    except Exception:
        return "cannot be read"
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return "is of another version of cellbench"
    return None
