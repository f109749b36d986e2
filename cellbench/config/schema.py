"""Schema of a complete config: its sections, their keys, and the allowed values."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from annotated_types import Interval

from cellbench.annotations import describe, fits
from cellbench.errors import UserError
from cellbench.hashes import config_hash

# Upper limits refuse what no machine could hold or finish; no published recipe comes near them.
Count = Annotated[int, Interval(ge=1, le=1_000_000)]
FewCount = Annotated[int, Interval(ge=1, le=65_536)]
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
Seconds = Annotated[float, Interval(gt=0, le=365 * 24 * 3600)]


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Identity of a method: `name` in tables, `title` for display, `source` its paper."""

    name: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Settings of the optimiser.

    Attributes:
        type: AdamW, Adam or SGD (Nesterov with `momentum`).
        lr: peak learning rate.
        trunk_lr: peak learning rate of pretrained weights; None for `lr`.
        weight_decay: not applied to biases and normalisation.
        clip_norm: largest gradient norm; None for no clipping.
        momentum: momentum of SGD.
    """

    type: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    lr: Positive = 5e-4
    trunk_lr: NotNegative | None = None
    weight_decay: NotNegative = 1e-4
    clip_norm: Positive | None = None
    momentum: Decay = 0.9


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Settings of the learning-rate schedule, validation, precision and budget.

    Attributes:
        policy: cosine to `final_lr`, or constant; both after the warm-up.
        warmup: share of the iterations in which the rate rises linearly.
        final_lr: share of the peak rate at the end of a cosine.
        ema: decay of the weights' moving average that is validated and kept; None for none.
        validations: number of validations, evenly over the second part of the run; the last at
            the end.
        first_validation: share of the iterations before the first validation.
        precision: auto takes bfloat16 where the hardware computes it, else float32.
        budget_s: wall-clock seconds to which `--budget` fitted the iterations, instead of epochs.
    """

    policy: Literal["cosine", "constant"] = "cosine"
    warmup: Share = 0.05
    final_lr: Share = 0.01
    ema: Decay | None = None
    validations: Count = 10
    first_validation: Share = 0.3
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    budget_s: Seconds | None = None


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Settings of a data set that hold for every method.

    Attributes:
        set: registered name.
        radius_px: match radius, px of the original image.
        epochs: passes over the training images.
        batch_size: crops per step, over all devices.
        crops_per_image: crops drawn from an image in a pass.
        input_scale: network-input px per px of the original image.
        augment: transforms in order, the crop first.
        prepare: transforms of whole images, in training and scoring alike; they draw nothing.
    """

    set: str
    radius_px: Positive
    epochs: Count
    batch_size: FewCount = 16
    crops_per_image: FewCount = 4
    input_scale: Annotated[float, Interval(gt=0, le=100)] = 1.0
    augment: Sequence[Mapping[str, Any]] = field(default_factory=list)
    prepare: Sequence[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """Complete, validated config.

    Attributes:
        method: see MethodInfo; `name` includes the keys that `--set` changed.
        recipe: raised when a code change alters results.
        model: nested dicts with `type`.
        optimizer: see OptimizerConfig.
        schedule: see ScheduleConfig.
        data: see DataConfig.
        changed: keys that `--set` changed, with their values.
        whole_epochs: epochs in the files of the config if the command line changed them; None if
            it did not. Neither recorded in the config nor hashed.
    """

    method: MethodInfo
    recipe: Count
    model: dict[str, Any]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    data: DataConfig
    changed: tuple[str, ...] = ()
    whole_epochs: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return the config as JSON-able dicts, which are hashed and recorded."""
        plain = asdict(self)
        del plain["changed"], plain["whole_epochs"]
        if not plain["data"]["prepare"]:
            # Newer than the first records, and left out if unused to keep their hashes valid.
            del plain["data"]["prepare"]
        return json.loads(json.dumps(plain))

    @property
    def hash(self) -> str:
        """SHA-256 of the plain config, hex."""
        return config_hash(self.plain())


SECTIONS: dict[str, type] = {
    "method": MethodInfo,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "data": DataConfig,
}

_Section = TypeVar("_Section")


def read_section(kind: type[_Section], values: Any, path: str) -> _Section:
    """Validate the values of a section of a config, and build it.

    Differs: pydantic checks the values and does not make the section, since it would turn a whole
    number into a float where one is wanted, and with it the hash of the config.

    Args:
        kind: one of the dataclasses above.
        values: unchecked values.
        path: dotted key of the section, for messages; empty for the config itself.

    Raises:
        UserError: no dict, an unknown or missing key, or an invalid value.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: a dict is wanted here, not {shown(values)}.")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    check_keys(values, list(known), path)
    hints = get_type_hints(kind, include_extras=True)
    at = f"{path}." if path else ""
    for key, value in values.items():
        if not fits(value, hints[key]):
            wanted = describe(hints[key])
            raise UserError(f"{at}{key}: {wanted} is wanted here, not {shown(value)}.")
    for key, entry in known.items():
        needed = entry.default is MISSING and entry.default_factory is MISSING
        if needed and key not in values:
            raise UserError(f"{at}{key} is missing; add it to the config.")
    return kind(**values)


def check_keys(values: Mapping[str, Any], known: Sequence[str], path: str, owner: str = "") -> None:
    """Refuse unknown keys, and suggest the nearest allowed one.

    Args:
        values: values by key.
        known: allowed keys.
        path: dotted key of the values.
        owner: the part whose arguments they are.
    """
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"known are {', '.join(known)}." if known else "it takes none."
            hint = f"did you mean {near[0]!r}?" if near else hint
            where = f"{path}.{key}" if path else str(key)
            what = f"{owner} takes no such argument" if owner else "there is no such key"
            raise UserError(f"{where}: {what}; {hint}")


def check_numbers(node: Any, path: str = "") -> None:
    """Refuse a number that is NaN, infinite or of more than 64 bits, anywhere in a config."""
    if isinstance(node, Mapping | list | tuple):
        children = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, child in children:
            check_numbers(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, int | float) and not (
        abs(node) < 2**63 if isinstance(node, int) else math.isfinite(node)
    ):
        raise UserError(
            f"{path}: a finite number of at most 64 bits is wanted here, not {shown(node)}."
        )


def shown(value: Any) -> str:
    """Format a value for messages, at most 100 characters; a huge whole number by its bits."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python prints no number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."
