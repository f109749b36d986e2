"""Configs: find, compose, override, check and hash.

A config is a Python file in mmengine's style. A method file owns `method`, `recipe`, `model`,
`optimizer`, `schedule` and `per_dataset`; a data-set file owns `data`; a composition names one of
each in `_base_`. Resolving a config gives a plain JSON-able dict, the same whatever the route.
"""

import ast
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cellbench import paths, plugin_index
from cellbench.annotations import describe, fits
from cellbench.config.part_options import check_foreign_data, check_untrusted_parts
from cellbench.config.schema import (
    SECTIONS,
    Count,
    ResolvedConfig,
    check_keys,
    check_numbers,
    read_section,
    shown,
)
from cellbench.config.sources import ConfigFile, config_folders, find_config, read_config
from cellbench.errors import UserError
from cellbench.unknown_sets import unknown_set

METHOD_KEYS = ("method", "recipe", "model", "optimizer", "schedule", "per_dataset")
DATA_KEYS = ("data",)

# Options of a run that are not part of its config.
_OPTIONS = ("dataset", "split", "seed", "protocol", "epochs", "budget", "device", "workers")

# Arguments that the assembly passes to a part, so that a config must not.
INJECTED = {
    "decoder": {"in_shapes"},
    "head": {"in_shape"},
    "conv": {"in_channels", "out_channels"},
    "transform": {"input_scale"},
}

# Arguments with a default in the assembly: a decoder's convolution is a `Standard` one.
DEFAULTED = {"decoder": {"conv"}}


def resolve(
    name: str | Path,
    *,
    dataset: str | None = None,
    overrides: Sequence[str] = (),
    simulated: bool = False,
    read: Callable[[Path], ConfigFile] = read_config,
) -> ResolvedConfig:
    """Load a config, swap its data set, apply overrides and check every key.

    Args:
        name: path or name for `find_config`.
        dataset: replaces the config's data set; a simulator's name takes its real set's file.
        overrides: "dotted.key=value" texts, as `--set` takes them.
        simulated: use the set's simulator; the set's name gets `-sim`.
        read: reads a file; callers that resolve many configs pass one with a cache.

    Raises:
        UserError: one sentence with the path of the key.
    """
    path = find_config(name)
    loaded = read(path)
    raw = copy.deepcopy(loaded.values)
    if dataset is not None:
        wanted = dataset.lower()
        file = _dataset_file(wanted)
        found = read(file)
        raw["data"] = copy.deepcopy(found.values.get("data"))
        if not isinstance(raw["data"], dict):
            raise UserError(f"{file} has no `data`, a dict, as the config of a data set has.")
        if wanted.endswith("-sim"):
            raw["data"]["set"] = wanted
        if found.data:  # a user's own set: the file was written by an import, and may be edited
            check_foreign_data(raw["data"], f"The config {file}")
    if "data" not in raw:
        raise UserError(
            f"{path.name} names no data set; add --dataset adi (or mbm, vgg, nuclei, dcc)."
        )
    check_keys(raw, [*METHOD_KEYS, *DATA_KEYS], "")
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
        check_untrusted_parts(raw, f"The config {loaded.data[0]}")
    whole = raw["data"].get("epochs") if isinstance(raw["data"], dict) else None
    changed = _apply(raw, overrides)
    config = _checked(raw, changed)
    return config if config.data.epochs == whole else replace(config, whole_epochs=whole)


def config_of_record(plain: Any, source: str) -> ResolvedConfig:
    """Validate the config in a record, except for the values of its parts' options.

    These need the parts' classes: call `check_untrusted_parts` before building anything from it.

    Args:
        plain: config of the record.
        source: name of the record, as the start of a sentence.

    Raises:
        UserError: it is not of the form of `ResolvedConfig.plain`, or names a part or an option
            that is not registered here.
    """
    if not isinstance(plain, Mapping):
        raise UserError(f"{source} has no config.")
    try:
        wanted = ("method", "recipe", "model", "optimizer", "schedule", "data")
        check_keys(plain, wanted, "")
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
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", base) or len(name) > paths.LONGEST_SET_NAME:
        raise UserError(
            f"A data set is named in at most {paths.LONGEST_SET_NAME} letters, digits, dashes and "
            f"underscores, not {name[:60]!r}."
        )
    for folder in config_folders():
        file = folder / "datasets" / f"{base}.py"
        if file.is_file():
            return file
    own = paths.data_folder(name) / paths.SET_CONFIG
    if own.is_file():
        return own
    known = sorted(
        {f.stem for d in config_folders() for f in (d / "datasets").glob("*.py")}
        | {f.parent.name for f in paths.home().glob(f"data/*/{paths.SET_CONFIG}")}
    )
    raise UserError(unknown_set(name, known))


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Parse `--set` texts into values by dotted key.

    Raises:
        UserError: one is not key=value.
    """
    given: dict[str, Any] = {}
    for text in overrides:
        dotted, equals, value = text.partition("=")
        if not equals or not dotted:
            raise UserError(f"--set takes key=value, such as model.matcher.type=KHM, not {text!r}.")
        given[dotted] = value
        with suppress(ValueError, SyntaxError):  # other values remain text
            given[dotted] = ast.literal_eval(value)
    return given


def _apply(raw: dict[str, Any], overrides: Sequence[str]) -> tuple[str, ...]:
    """Apply `--set` texts in place, and return them in canonical form, sorted."""
    given = read_overrides(overrides)
    for dotted in given:
        if dotted in ("data", "data.set"):
            raise UserError(
                f"--set {dotted}: the set is chosen by its name, with its crops, match radius and "
                "split: --dataset NAME, and of a comparison --datasets NAMES."
            )
    for dotted, value in given.items():
        *parents, last = dotted.split(".")
        if not parents and last not in raw:
            raise UserError(f"--set {dotted}: {_elsewhere(last, raw)}")
        node: Any = raw
        for depth, key in enumerate(parents, start=1):
            at = ".".join(parents[:depth])
            node = node[_key_or_index(node, key, at)]
            if not isinstance(node, dict | list):
                raise UserError(f"--set {dotted}: {at} has no keys.")
        place = last if isinstance(node, dict) else _key_or_index(node, last, dotted)
        swapped = last == "type" and isinstance(node, dict) and value != node.get(last)
        node[place] = value
        if swapped:
            _drop_foreign(node, parents, keep=given, prefix=".".join(parents))
    return tuple(sorted(f"{key}={value}" for key, value in given.items()))


def _elsewhere(key: str, raw: Mapping[str, Any]) -> str:
    """Describe where an unknown top-level key belongs, as the end of a sentence."""
    if key in _OPTIONS:
        return f"a config has no {key!r}; the option --{key} sets it."
    places = [name for name, kind in SECTIONS.items() if key in {f.name for f in fields(kind)}]
    places += ["model"] if isinstance(raw.get("model"), dict) and key in raw["model"] else []
    near = get_close_matches(key, list(raw), n=1)
    hint = f"there are {', '.join(sorted(raw))}, and keys below them."
    if near or places:
        hint = f"did you mean {near[0] if near else f'{places[0]}.{key}'!r}?"
    return f"there is no key {key!r}; {hint}"


def _key_or_index(node: Any, key: str, path: str) -> str | int:
    """Resolve one name in the path of an override to a key of a dict or an index of a list.

    Raises:
        UserError: there is no such key or index.
    """
    if isinstance(node, list):
        if key.isdigit() and int(key) < len(node):
            return int(key)
        raise UserError(f"--set {path}: {key!r} is no index of a list of {len(node)}.")
    if key in node:
        return key
    near = get_close_matches(key, list(node), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(node)}."
    raise UserError(f"--set {path}: there is no key {key!r}; {hint}")


def _drop_foreign(
    node: dict[str, Any], parents: Sequence[str], *, keep: Mapping[str, Any], prefix: str
) -> None:
    """Delete the arguments that only the old part takes, where `--set` swaps a part."""
    role = parents[-1] if parents else ""
    if role.isdigit() and parents[-2] in ("augment", "prepare"):
        role = "transform"
    role = "counter" if role == "model" else role
    parameters = plugin_index.parameters(role, node["type"])
    if parameters is None:
        return
    for key in list(node):
        if key != "type" and key not in parameters and f"{prefix}.{key}" not in keep:
            del node[key]


def _checked(raw: Mapping[str, Any], changed: tuple[str, ...]) -> ResolvedConfig:
    sections: dict[str, Any] = {
        key: read_section(kind, raw.get(key, {}), key) for key, kind in SECTIONS.items()
    }
    if not fits(raw["recipe"], Count):
        raise UserError(f"recipe: {describe(Count)} is wanted here, not {shown(raw['recipe'])}.")
    check_parts(raw["model"], "model", "counter")
    for key in ("augment", "prepare"):
        check_parts(raw["data"].get(key, []), f"data.{key}", "transform")
    check_numbers(raw)
    config = ResolvedConfig(
        recipe=raw["recipe"], model=copy.deepcopy(raw["model"]), changed=changed, **sections
    )
    if not changed:
        return config
    name = f"{config.method.name}[{', '.join(changed)}]"
    return replace(config, method=replace(config.method, name=name))


def check_parts(node: Any, path: str, role: str | None) -> None:
    """Check names and arguments of every part below a config node, without importing one.

    Args:
        node: node of the config.
        path: its dotted key.
        role: role of the part, or of every part in a list; None for no part.

    Raises:
        UserError: unknown part, unknown or missing argument, with the path of the key.
    """
    if isinstance(node, list | tuple):
        for index, child in enumerate(node):
            check_parts(child, f"{path}.{index}", role)
        return
    if not isinstance(node, Mapping):
        if role is not None:
            raise UserError(f"{path}: a {role} is a dict with a 'type', not {shown(node)}.")
        return
    if role is not None:
        name = node.get("type")
        if not isinstance(name, str) or not plugin_index.find(role, name):
            from cellbench.registry import REGISTRIES

            try:
                REGISTRIES[role].get(name)  # type: ignore[arg-type]
            except UserError as error:  # with the nearest names
                raise UserError(f"{path}.type: {error}") from None
        parameters = plugin_index.parameters(role, name)
        if parameters is not None:
            injected = INJECTED.get(role, set())
            arguments = {key: value for key, value in node.items() if key != "type"}
            known = [key for key in parameters if key not in injected]
            check_keys(arguments, known, path, str(name))
            for key, needed in parameters.items():
                if needed and key not in {*node, *injected, *DEFAULTED.get(role, ())}:
                    raise UserError(f"{path}.{key} is missing; {name} needs it.")
    for key, child in node.items():
        inner = key if key in plugin_index.ROLES.values() and child is not None else None
        if inner or isinstance(child, Mapping):
            check_parts(child, f"{path}.{key}", inner)
