"""Checks of part options in untrusted configs: in records, run folders, YAML and JSON files.

These may come from anyone. They may select registered parts and set numbers, switches and names
from lists, but no path, program or address, since a part may open, load or start what it is given.
The class of a part declares which texts its options take:

- `Literal` in the annotation of an option lists the texts that it takes;
- `named_options: ClassVar[Mapping[str, Collection[str]]]` lists them for an option whose annotation
  is wider, because a `.py` config or `--set` may give a path there too;
- `local_options: ClassVar[Collection[str]]` names options that only the user of this machine may
  set, whatever their type: an interpreter, a program, a path;
- `parts: ClassVar[Mapping[str, PartRegistry]]` names options that are parts themselves, where their
  key is not the name of a role.

Any other text is refused unless it is the option's default: a part that declares nothing is safe.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from cellbench import plugin_index
from cellbench.annotations import parameters_of
from cellbench.config.schema import shown
from cellbench.errors import PartError, UserError
from cellbench.registry import REGISTRIES

_ROLES = frozenset(plugin_index.ROLES.values())
_PLAIN_MODULES = ("builtins", "collections.abc", "typing", "types")


def check_untrusted_parts(config: Mapping[str, Any], source: str) -> None:
    """Refuse options that an untrusted config must not set, in any of its parts.

    The modules of the parts are imported, but no part is built.

    Args:
        config: config with `model`, and `data` if it has any.
        source: origin of the config, as the start of a sentence: "The record x.json".

    Raises:
        UserError: a part is not registered, or an option is reserved for the user; names both.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        raise UserError(f"{source} has no model: a dict with a 'type' is wanted there.")
    _part(model, _Place(source, "model"), "counter")
    check_foreign_data(config.get("data"), source)


def check_foreign_data(data: Any, source: str) -> None:
    """Refuse options as `check_untrusted_parts` does, in the `data` of a config alone."""
    for key in ("augment", "prepare"):
        transforms = data.get(key) if isinstance(data, Mapping) else None
        if transforms is not None:
            _part(transforms, _Place(source, f"data.{key}"), "transform")


@dataclass(frozen=True, slots=True)
class _Place:
    """Position in a config."""

    source: str
    path: str

    def inner(self, key: Any) -> "_Place":
        return _Place(self.source, f"{self.path}.{key}")


@dataclass(frozen=True, slots=True)
class _Option:
    """Option of a part, with its allowed values.

    Attributes:
        owner: name of the part.
        name: name of the option.
        texts: allowed texts.
        makers: classes whose options a dict in it may hold.
    """

    owner: str
    name: str
    texts: Collection[Any]
    makers: tuple[type, ...] = ()


def _part(node: Any, place: _Place, role: str) -> None:
    """Check a part of a known role, or a list of them."""
    if isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _part(child, place.inner(index), role)
        return
    if not isinstance(node, Mapping):
        raise UserError(
            f"{place.source} sets {place.path} = {shown(node)}, where a {role} is wanted: a dict "
            "with a 'type'."
        )
    name = node.get("type")
    try:
        part = REGISTRIES[role].get(name)  # type: ignore[arg-type]
    except PartError as error:
        raise UserError(f"{place.source} sets {place.path}.type: {error}") from None
    options = {key: value for key, value in node.items() if key != "type"}
    _options(part, str(name), options, place)


def _options(part: Any, owner: str, options: Mapping[str, Any], place: _Place) -> None:
    """Check the options of a part, or of a class that an option's value is built with."""
    parameters = parameters_of(part)
    parts: Mapping[str, Any] = getattr(part, "parts", None) or {}
    local: Collection[str] = getattr(part, "local_options", ())
    named: Mapping[str, Collection[str]] = getattr(part, "named_options", {})
    for key, value in options.items():
        at = place.inner(key)
        parameter = parameters.get(key)
        default = inspect.Parameter.empty if parameter is None else parameter.default
        if value is None or (type(value) is type(default) and value == default):
            continue
        if str(key).startswith("_"):
            raise UserError(
                f"{at.source} sets {at.path}, which {owner} has not: no option starts with '_'."
            )
        if key in local:
            raise UserError(
                f"{at.source} sets {at.path} = {shown(value)}, but {owner} takes {key!r} only "
                "from the user of this machine (in a .py config, by --set, or as the part says), "
                "never from a record, a run folder or a config in YAML or JSON."
            )
        if key in parts:
            _part(value, at, parts[key].name)
        elif key in _ROLES:
            _part(value, at, key)
        else:
            annotation = Any if parameter is None else parameter.annotation
            texts = [*_literals(annotation), *named.get(key, ())]
            _value(value, _Option(owner, str(key), texts, _classes(annotation)), at)


def _value(value: Any, option: _Option, at: _Place) -> None:
    """Check the value of an option that is no part."""
    if isinstance(value, str) and value not in option.texts:
        raise UserError(f"{at.source} sets {at.path} = {shown(value)}, but {_allowed(option)}")
    if isinstance(value, list | tuple):
        for index, child in enumerate(value):
            _value(child, option, at.inner(index))
    elif isinstance(value, Mapping):
        for key, child in value.items():
            if key in _ROLES and child is not None:
                _part(child, at.inner(key), key)
                continue
            makers = [maker for maker in option.makers if key in parameters_of(maker)]
            if makers:
                _options(makers[0], makers[0].__name__, {key: child}, at)
                continue
            if not (isinstance(key, str) and (key.isidentifier() or key in option.texts)):
                raise UserError(
                    f"{at.source} sets {at.path} with the key {shown(key)}, but {_allowed(option)}"
                )
            _value(child, option, at.inner(key))


def _allowed(option: _Option) -> str:
    texts = [repr(text) for text in option.texts if isinstance(text, str)]
    if texts:
        return (
            f"there {option.owner} takes {', '.join(texts)} and no path or other text for "
            f"{option.name!r}; only a .py config and --set may give one."
        )
    return (
        f"{option.owner} takes no text for {option.name!r} from a record, a run folder or a "
        "config in YAML or JSON, since its class lists none (by Literal or named_options); only a "
        ".py config and --set may give one."
    )


def _literals(annotation: Any) -> list[Any]:
    """List the values of every `Literal` in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner: Sequence[Any] = get_args(annotation)
    return [value for child in inner for value in _literals(child)]


def _classes(annotation: Any) -> tuple[type, ...]:
    """Return the classes in an annotation that can be built from a dict of options."""
    children = get_args(annotation) or (annotation,)
    return tuple(
        child
        for child in children
        if inspect.isclass(child) and child.__module__ not in _PLAIN_MODULES
    )
