"""Loading of the weights that a run kept, checked for record, method and finite values.

A safetensors file holds no code, but it may hold another method's tensors, another training's
values, or values that are not finite: each of these would give counts without an error. All that
can be checked without allocating memory is checked first: the method is built on the meta device
for its tensors, and the file's size and header must agree with them.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from cellbench.errors import UserError
from cellbench.files.reading import check_file, read_file
from cellbench.models.build import build_counter
from cellbench.models.counter import CellCounter

MOST_MODULES = 20_000
MOST_BYTES = 4 * 2**30
LARGEST_BYTES = 2 * MOST_BYTES

# Names in the safetensors format of the types that methods store.
_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_HEADER_BYTES_A_TENSOR = 1024

# Weights of single precision may be stored in half precision.
_HALF = {torch.float32: torch.float16}


def load_kept(
    model: Mapping[str, Any], file: Path, *, sha256: str | None, trust: bool = False
) -> CellCounter:
    """Build a method and load the weights that its run kept.

    Args:
        model: the `model` part of a config that `check_untrusted_parts` has checked.
        file: presumably written by `save_weights` of a run with this config.
        sha256: of the file, from the record; None if the record has none.
        trust: accept a file of another hash. One that does not fit, or is not finite, is refused
            all the same.

    Returns:
        The counter with its weights, on the CPU, in training mode.

    Raises:
        UserError: the file is not the record's, does not hold this method's tensors, or holds
            values that are not finite; or the method exceeds `MOST_MODULES` or `MOST_BYTES`.
    """
    wanted = state_of(model)
    state = read_kept(wanted, file, sha256=sha256, trust=trust)
    counter = build_counter(model, load_weights=False)
    counter.load_state_dict(state, strict=True)
    return counter


def state_of(model: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a method by name, on the meta device if it can be built there.

    Raises:
        UserError: the method cannot be built, or exceeds `MOST_MODULES` or `MOST_BYTES`.
    """
    try:
        try:
            with torch.device("meta"), _limited():
                return dict(build_counter(model, load_weights=False).state_dict())
        except (NotImplementedError, RuntimeError) as error:
            # A part that reads a value in its constructor cannot be built on the meta device.
            if "meta" not in str(error):
                raise
        with _limited():
            return dict(build_counter(model, load_weights=False).state_dict())
    except UserError:
        raise
    except Exception as error:  # options from outside may fail in any way
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The method {str(model.get('type'))[:60]!r} cannot be made with the options that are "
            f"recorded ({type(error).__name__}: {reason})."
        ) from None


def read_kept(
    wanted: Mapping[str, Tensor], file: Path, *, sha256: str | None, trust: bool = False
) -> dict[str, Tensor]:
    """Read a file of weights and check it against the tensors of a method.

    Args:
        wanted: by name, on any device; shapes and types are compared. Half precision is accepted
            for single precision.
        file: safetensors.
        sha256: of the file, hex; None if unknown.
        trust: accept a file of another hash.

    Raises:
        UserError: one sentence that names the file.
    """
    content = _read(file, wanted)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256 and not trust:
        raise UserError(
            f"{file} holds other weights than those that its record scored (SHA-256 {found[:12]} "
            f"and not {sha256[:12]}): restore the run's own, or add --trust-weights if you know "
            "where these are from."
        )
    _check_header(content, wanted, file)
    try:
        state = safetensors.torch.load(content)
    except Exception as error:  # damage shows in any way
        raise _unfit(file, f"it is damaged: {' '.join(str(error).split())[:100]}") from None
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{file} holds values that are not finite in {name!r}: what it counts would mean "
                "nothing; restore the run's own weights, or train again."
            )
        if name.endswith("running_var") and (tensor < 0).any():
            raise UserError(
                f"{file} holds variances below zero in {name!r}; restore the run's own weights, or "
                "train again."
            )
    return state


def _read(file: Path, wanted: Mapping[str, Tensor]) -> bytes:
    """Read a file, after a check that its size is possible for the tensors."""
    payload = sum(tensor.numel() * tensor.element_size() for tensor in wanted.values())
    least = sum(
        tensor.numel() * _HALF.get(tensor.dtype, tensor.dtype).itemsize
        for tensor in wanted.values()
    )
    most = payload + 8 + _HEADER_BYTES_A_TENSOR * (len(wanted) + 1)
    try:
        size = check_file(file, most=LARGEST_BYTES).st_size
        if size < least or size > most:
            raise UserError(
                f"{file} does not hold this method's weights: it has {size} bytes, and their "
                f"{len(wanted)} tensors take {payload}; restore the run's own weights."
            )
        return read_file(file, most=most)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{file} cannot be read ({reason}).") from None


def _check_header(content: bytes, wanted: Mapping[str, Tensor], file: Path) -> None:
    """Check the names, shapes and types in a file's header against a method's."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > len(content) - 8:
            raise ValueError("its header is cut off")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        declared = {
            name: (tuple(entry["shape"]), _DTYPES.get(entry["dtype"]))
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise _unfit(file, f"it is damaged: {' '.join(str(error).split())[:100]}") from None
    for name in wanted:
        if name not in declared:
            raise _unfit(file, f"{name!r} is missing")
    for name, (shape, dtype) in declared.items():
        if name not in wanted:
            raise _unfit(file, f"this method has no {name[:100]!r}")
        if shape != tuple(wanted[name].shape):
            expected = tuple(wanted[name].shape)
            raise _unfit(file, f"{name!r} is of shape {str(shape)[:100]} and not {expected}")
        if dtype not in (wanted[name].dtype, _HALF.get(wanted[name].dtype)):
            kind = str(header[name]["dtype"])[:20]
            raise _unfit(file, f"{name!r} is of type {kind} and not {wanted[name].dtype}")


def _unfit(file: Path, reason: str) -> UserError:
    return UserError(
        f"{file} does not hold this method's weights ({reason}); restore the run's own weights, or "
        "train again."
    )


@contextmanager
def _limited() -> Iterator[None]:
    """Raise if a network exceeds `MOST_MODULES` or `MOST_BYTES` while it is built."""
    modules = tensors = 0

    def count_module(parent: nn.Module, name: str, module: Any) -> None:
        nonlocal modules
        modules += 1
        if modules > MOST_MODULES:
            raise UserError(f"The method has more than {MOST_MODULES} modules, as none has.")

    def count_tensor(parent: nn.Module, name: str, tensor: Any) -> None:
        nonlocal tensors
        if isinstance(tensor, Tensor):
            tensors += tensor.numel() * tensor.element_size()
        if tensors > MOST_BYTES:
            raise UserError(f"The method has more than {MOST_BYTES} bytes of weights, as none has.")

    register: list[tuple[Callable[..., Any], Callable[..., None]]] = [
        (nn.modules.module.register_module_module_registration_hook, count_module),
        (nn.modules.module.register_module_parameter_registration_hook, count_tensor),
        (nn.modules.module.register_module_buffer_registration_hook, count_tensor),
    ]
    handles = [add(hook) for add, hook in register]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
