"""Which options of a part may come from a record, a run folder or a YAML or JSON config.

These may be anyone's. They name registered parts and give them numbers, switches and names from
lists; they give no path, program or address, since a part may open, load or start what it is
given. What a text may be is read from the part's class:

- `Literal` in the annotation of an option lists the texts that it takes;
- `named_options: ClassVar[Mapping[str, Collection[str]]]` lists them for an option whose annotation
  is wider, because a `.py` config or `--set` may give a path there too;
- `local_options: ClassVar[Collection[str]]` names options that only the user of this machine may
  set, whatever their type: an interpreter, a program, a path;
- `parts: ClassVar[Mapping[str, PartRegistry]]` names options that are parts themselves, where their
  key is not the name of a role.

Any other text is refused unless it is the option's default: a part that says nothing is safe.
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


def check_foreign_parts(config: Mapping[str, Any], source: str) -> None:
    """Refuse what a config from outside may not set, in any part that it names.

    The modules of the parts are imported, none of the parts is made.

    Args:
        config: `model` and `data`, as far as they are there.
        source: what the config is from, as the start of a sentence: "The record x.json".

    Raises:
        UserError: a part is not registered, or an option is the user's alone; names both.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        raise UserError(f"{source} has no model: a dict with a 'type' is wanted there.")
    _part(model, _Place(source, "model"), "counter")
    check_foreign_data(config.get("data"), source)


def check_foreign_data(data: Any, source: str) -> None:
    """As `check_foreign_parts`, of the `data` of a config alone."""
    for key in ("augment", "prepare"):
        transforms = data.get(key) if isinstance(data, Mapping) else None
        if transforms is not None:
            _part(transforms, _Place(source, f"data.{key}"), "transform")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in which config."""

    source: str
    path: str

    def inner(self, key: Any) -> "_Place":
        return _Place(self.source, f"{self.path}.{key}")


@dataclass(frozen=True, slots=True)
class _Option:
    """What may stand in an option.

    Attributes:
        owner: name of the part.
        name: of the option.
        texts: that it takes.
        makers: classes that a dict in it may be the options of.
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
    """Check the options of a part, or of a class that an option is made with."""
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
    """Check what stands in an option that is no part."""
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
    """The values of every `Literal` in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner: Sequence[Any] = get_args(annotation)
    return [value for child in inner for value in _literals(child)]


def _classes(annotation: Any) -> tuple[type, ...]:
    """The classes of an annotation that a dict of options may make."""
    children = get_args(annotation) or (annotation,)
    return tuple(
        child
        for child in children
        if inspect.isclass(child) and child.__module__ not in _PLAIN_MODULES
    )
