"""Configs: find, compose, override, check and hash.

A config is a Python file in mmengine's style. A method file owns `method`, `recipe`, `model`,
`optimizer`, `schedule` and `per_dataset`; a data-set file owns `data`; a composition names one of
each in `_base_`. Resolving a config gives a plain JSON-able dict, the same whatever the route.
"""

import ast
import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_type_hints

from cellbench import plugin_index
from cellbench.config.part_options import check_foreign_parts
from cellbench.config.ranges import check_ranges
from cellbench.config.sources import config_folders, find_config, load_file, read_config
from cellbench.errors import UserError

METHOD_KEYS = ("method", "recipe", "model", "optimizer", "schedule", "per_dataset")
DATA_KEYS = ("data",)

# What the assembly hands to a part, so that a config must not.
INJECTED = {
    "decoder": {"in_shapes"},
    "head": {"in_shape"},
    "conv": {"in_channels", "out_channels"},
    "transform": {"input_scale"},
}

# What the assembly makes where a config is silent: a decoder's convolution is a `Standard` one.
DEFAULTED = {"decoder": {"conv"}}


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Who a method is: `name` in tables, `title` for people, `source` its paper."""

    name: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        type: AdamW, Adam or SGD (Nesterov with `momentum`).
        lr: peak learning rate.
        trunk_lr: of pretrained weights; None for `lr`.
        weight_decay: not applied to biases and normalisation.
        clip_norm: gradient norm; None for no clipping.
        momentum: of SGD.
    """

    type: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    lr: float = 5e-4
    trunk_lr: float | None = None
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    momentum: float = 0.9


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """How long and how.

    Attributes:
        policy: cosine to `final_lr`, or constant; both after the warm-up.
        warmup: share of the iterations in which the rate rises linearly.
        final_lr: share of the peak rate at the end of a cosine.
        ema: decay of the weights' moving average that is validated and kept; None for none.
        validations: how many, evenly over the second part of the run; the last at the end.
        first_validation: share of the iterations before the first of them.
        precision: auto takes bfloat16 where the hardware computes it, else float32.
        budget_s: wall-clock seconds to which `--budget` fitted the iterations, instead of epochs.
    """

    policy: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.05
    final_lr: float = 0.01
    ema: float | None = None
    validations: int = 10
    first_validation: float = 0.3
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    budget_s: float | None = None


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What a data set asks of every method.

    Attributes:
        set: registered name.
        radius_px: match radius, px of the original image.
        epochs: passes over the training images.
        batch_size: crops a step, over all devices.
        crops_per_image: crops drawn from an image in a pass.
        input_scale: network-input px per px of the original image.
        augment: transforms in order, the crop first.
        prepare: transforms of whole images, in training and scoring alike; they draw nothing.
    """

    set: str
    radius_px: float
    epochs: int
    batch_size: int = 16
    crops_per_image: int = 4
    input_scale: float = 1.0
    augment: Sequence[Mapping[str, Any]] = field(default_factory=list)
    prepare: Sequence[Mapping[str, Any]] = field(default_factory=list)


SECTIONS: dict[str, type] = {
    "method": MethodInfo,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "data": DataConfig,
}


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A complete, checked config.

    Attributes:
        method: who it is; `name` carries the keys that `--set` changed.
        recipe: raised when a code change alters results.
        model: nested dicts with `type`.
        optimizer: see OptimizerConfig.
        schedule: see ScheduleConfig.
        data: see DataConfig.
        changed: keys that `--set` changed, with their values.
    """

    method: MethodInfo
    recipe: int
    model: dict[str, Any]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    data: DataConfig
    changed: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The config as JSON-able dicts; what is hashed and recorded."""
        plain = asdict(self)
        del plain["changed"]
        if not plain["data"]["prepare"]:
            # Newer than the first records: where it is not used, their hashes stand.
            del plain["data"]["prepare"]
        return json.loads(json.dumps(plain))

    @property
    def hash(self) -> str:
        """SHA-256 of the plain config, hex."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def resolve(
    name: str | Path,
    *,
    dataset: str | None = None,
    overrides: Sequence[str] = (),
    simulated: bool = False,
) -> ResolvedConfig:
    """Load a config, swap its data set, apply overrides and check every key.

    Args:
        name: as `find_config` takes it.
        dataset: replaces the config's data set; a simulator's name takes its real set's file.
        overrides: "dotted.key=value" texts, as `--set` takes them.
        simulated: the set's simulator stands in; the set's name gets `-sim`.

    Raises:
        UserError: one sentence with the path of the key.
    """
    path = find_config(name)
    loaded = read_config(path)
    raw = loaded.values
    if dataset is not None:
        wanted = dataset.lower()
        file = _dataset_file(wanted)
        raw["data"] = load_file(file).get("data")
        if not isinstance(raw["data"], dict):
            raise UserError(f"{file} has no `data`, a dict, as the config of a data set has.")
        if wanted.endswith("-sim"):
            raw["data"]["set"] = wanted
    if "data" not in raw:
        raise UserError(
            f"{path.name} names no data set; add --dataset adi (or mbm, vgg, nuclei, dcc)."
        )
    _check_keys(raw, [*METHOD_KEYS, *DATA_KEYS], "")
    for key in ("method", "model"):
        if key not in raw:
            raise UserError(
                f"{path.name}: {key!r} is missing; take it from a file in configs/methods."
            )
    raw.setdefault("recipe", 1)
    set_name = raw["data"].get("set") if isinstance(raw["data"], dict) else None
    special: Mapping[str, Any] = raw.pop("per_dataset", None) or {}
    if isinstance(set_name, str):
        raw = merge(raw, special.get(set_name.removesuffix("-sim"), {}))
        if simulated and not set_name.endswith("-sim"):
            raw["data"]["set"] = f"{set_name}-sim"
    for section in ("optimizer", "schedule"):
        raw.setdefault(section, {})  # all their keys have defaults, which --set may change
    if loaded.data:
        check_foreign_parts(raw, f"The config {loaded.data[0]}")
    changed = _apply(raw, overrides)
    return _checked(raw, changed)


def config_of_record(plain: Any, source: str) -> ResolvedConfig:
    """The config in a record, checked as what comes from outside but for the options of its parts.

    These need the parts' classes: whoever builds from it calls `check_foreign_parts` first.

    Args:
        plain: what the record has as its config.
        source: names the record, as the start of a sentence.

    Raises:
        UserError: it is not what `ResolvedConfig.plain` gives, or names a part or an option that
            is not registered here.
    """
    if not isinstance(plain, Mapping):
        raise UserError(f"{source} has no config.")
    try:
        wanted = ("method", "recipe", "model", "optimizer", "schedule", "data")
        _check_keys(plain, wanted, "")
        missing = [key for key in wanted if key not in plain]
        if missing:
            raise UserError(f"its config lacks {missing[0]!r}.")
        return _checked(plain, ())
    except UserError as error:
        raise UserError(f"{source} cannot be read by this cellbench: {error}") from None


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; a dict in `change` whose `type` differs replaces its counterpart."""
    merged = copy.deepcopy(dict(base))
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same_part = value.get("type", old.get("type")) == old.get("type")
            merged[key] = merge(old, value) if same_part else copy.deepcopy(dict(value))
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _dataset_file(name: str) -> Path:
    base = name.removesuffix("-sim")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", base):
        raise UserError(
            f"A data set is named in letters, digits, dashes and underscores, not {name[:60]!r}."
        )
    for folder in config_folders():
        file = folder / "datasets" / f"{base}.py"
        if file.is_file():
            return file
    known = sorted({f.stem for d in config_folders() for f in (d / "datasets").glob("*.py")})
    near = get_close_matches(base, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    raise UserError(f"There is no data set {name!r}; {hint}")


def _apply(raw: dict[str, Any], overrides: Sequence[str]) -> tuple[str, ...]:
    """Apply `--set` texts in place; the canonical texts of what changed, sorted."""
    given = dict(_parsed(text) for text in overrides)
    for dotted, value in given.items():
        *parents, last = dotted.split(".")
        node: Any = raw
        for depth, key in enumerate(parents):
            child = _child(node, key, ".".join(parents[: depth + 1]))
            if not isinstance(child, dict | list):
                raise UserError(f"--set {dotted}: {'.'.join(parents[: depth + 1])} has no keys.")
            node = child
        if isinstance(node, list):
            node[_index(node, last, dotted)] = value
            continue
        old = node.get(last)
        node[last] = value
        if last == "type" and value != old:
            _drop_foreign(node, parents, keep=given, prefix=".".join(parents))
    return tuple(sorted(f"{key}={value}" for key, value in given.items()))


def _parsed(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set takes key=value, such as model.matcher.type=KHM, not {text!r}.")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _child(node: Any, key: str, path: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, path)]
    if key in node:
        return node[key]
    near = get_close_matches(key, list(node), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(node)}."
    raise UserError(f"--set {path}: there is no key {key!r}; {hint}")


def _index(node: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"--set {path}: {key!r} is no index of a list of {len(node)}.")
    return int(key)


def _drop_foreign(
    node: dict[str, Any], parents: Sequence[str], *, keep: Mapping[str, Any], prefix: str
) -> None:
    """When `--set` swaps a part, forget the arguments that only the old part took."""
    role = _role(parents)
    parameters = _parameters(role, node["type"]) if role else None
    if parameters is None:
        return
    for key in list(node):
        if key != "type" and key not in parameters and f"{prefix}.{key}" not in keep:
            del node[key]


def _role(parents: Sequence[str]) -> str | None:
    if not parents:
        return None
    key = parents[-1]
    if key.isdigit() and len(parents) > 1 and parents[-2] in ("augment", "prepare"):
        return "transform"
    if key == "model":
        return "counter"
    return key if key in plugin_index.ROLES.values() else None


def _parameters(role: str, name: Any) -> dict[str, bool] | None:
    """Argument names of a part and whether each must be given; None where it is not known."""
    entries = plugin_index.find(role, name) if isinstance(name, str) else []
    return plugin_index.parameters(entries[0]) if len(entries) == 1 else None


def _checked(raw: Mapping[str, Any], changed: tuple[str, ...]) -> ResolvedConfig:
    sections = {key: _section(kind, raw.get(key, {}), key) for key, kind in SECTIONS.items()}
    if not isinstance(raw["recipe"], int) or isinstance(raw["recipe"], bool):
        raise UserError(f"recipe: an integer is wanted here, not {raw['recipe']!r}.")
    check_parts(raw["model"], "model", "counter")
    for key in ("augment", "prepare"):
        for index, transform in enumerate(raw["data"].get(key, [])):
            check_parts(transform, f"data.{key}.{index}", "transform")
    check_ranges(
        {
            "recipe": raw["recipe"],
            "model": raw["model"],
            **{key: asdict(sections[key]) for key in SECTIONS},
        }
    )
    method = sections["method"]
    if changed:
        method = MethodInfo(f"{method.name}[{', '.join(changed)}]", method.title, method.source)
    return ResolvedConfig(
        method=method,
        recipe=raw["recipe"],
        model=copy.deepcopy(raw["model"]),
        optimizer=sections["optimizer"],
        schedule=sections["schedule"],
        data=sections["data"],
        changed=changed,
    )


def _section(kind: type, values: Any, path: str) -> Any:
    from typeguard import TypeCheckError, check_type

    if not isinstance(values, Mapping):
        raise UserError(f"{path}: a dict is wanted here, not {values!r}.")
    known = {f.name: f for f in fields(kind)}
    _check_keys(values, list(known), path)
    hints = get_type_hints(kind)
    for key, value in values.items():
        try:
            check_type(value, hints[key])
            wrong = isinstance(value, bool) and hints[key] is not bool
        except TypeCheckError:
            wrong = True
        if wrong:
            shown = str(getattr(hints[key], "__name__", hints[key]))
            shown = str(hints[key]) if "Literal" in shown or "[" in str(hints[key]) else shown
            shown = shown.replace("typing.", "").replace("collections.abc.", "")
            raise UserError(f"{path}.{key}: {shown} is wanted here, not {value!r}.")
    for key, entry in known.items():
        optional = entry.default is not MISSING or entry.default_factory is not MISSING
        if key not in values and not optional:
            raise UserError(f"{path}.{key} is missing; add it to the config.")
    return kind(**values)


def check_parts(node: Any, path: str, role: str | None) -> None:
    """Check names and arguments of every part below a config node, without importing one.

    Raises:
        UserError: unknown part, unknown or missing argument, with the path of the key.
    """
    if isinstance(node, list | tuple):
        for index, child in enumerate(node):
            check_parts(child, f"{path}.{index}", role)
        return
    if not isinstance(node, Mapping):
        if role is not None:
            raise UserError(f"{path}: a {role} is a dict with a 'type', not {node!r}.")
        return
    if role is not None:
        _check_part(node, path, role)
    for key, child in node.items():
        inner = key if key in plugin_index.ROLES.values() and child is not None else None
        if inner or isinstance(child, Mapping):
            check_parts(child, f"{path}.{key}", inner)


def _check_part(node: Mapping[str, Any], path: str, role: str) -> None:
    from cellbench.registry import REGISTRIES

    registry = REGISTRIES[role]
    if "type" not in node:
        raise UserError(
            f"{path}.type is missing; it names a {role}: {', '.join(registry.names())}."
        )
    name = node["type"]
    if not isinstance(name, str) or "." in name or not plugin_index.find(role, name):
        try:
            registry.get(name)  # raises with the nearest names, or finds it in an unread plugin
        except UserError as error:
            raise UserError(f"{path}.type: {error}") from None
        return
    parameters = _parameters(role, name)
    if parameters is None:
        return
    given = INJECTED.get(role, set())
    silent = given | DEFAULTED.get(role, set())
    allowed = [key for key in parameters if key not in given]
    _check_keys({k: v for k, v in node.items() if k != "type"}, allowed, path, owner=name)
    for key, needed in parameters.items():
        if needed and key not in node and key not in silent:
            raise UserError(f"{path}.{key} is missing; {name} needs it.")


def _check_keys(
    values: Mapping[str, Any], known: Sequence[str], path: str, owner: str = ""
) -> None:
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            where = f"{path}.{key}" if path else str(key)
            what = f"{owner} takes no such argument" if owner else "there is no such key"
            raise UserError(f"{where}: {what}; {hint}")
