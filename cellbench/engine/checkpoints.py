"""Files that a kill cannot tear: the checkpoint to resume from and the weights to keep."""

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
    """Put a finished file in its place, durably."""
    with temporary.open("rb+") as file:
        sync(file.fileno())
    temporary.replace(final)


def save_weights(network: nn.Module, file: Path) -> None:
    """Write a network's state as safetensors.

    Raises:
        RunError: the disk is full or not writable.
    """
    # Tensors that share memory may be stored once only; contiguity is what the format stores.
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
    """Read weights that `save_weights` wrote into a network of the same config.

    Raises:
        UserError: the file is torn, no safetensors, or of another network.
    """
    try:
        state = safetensors.torch.load_file(file)
        network.load_state_dict(state, strict=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file} does not hold this method's weights ({reason}).") from None


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write what a run needs to go on: whole, or not at all.

    Raises:
        RunError: the disk is full or not writable; the checkpoint before stays.
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
    """Read what `save_checkpoint` wrote, without running pickled code."""
    content: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    return content


def clear(folder: Path, *, resume: bool, say: Callable[[str], None]) -> None:
    """Leave in a run's folder what its training can go on from, its lock and the steps just fixed.

    Args:
        folder: of the run.
        resume: whether it goes on from a checkpoint at all.
        say: takes a sentence on a checkpoint that cannot be used.
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
    """What keeps a run from going on from a checkpoint; None if nothing does."""
    try:
        content = load_checkpoint(file, "meta")
    except Exception:
        return "cannot be read"
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return "is of another version of cellbench"
    return None
