"""Type annotations of options: validation of values, their wording, options of a part."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Interval

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    NoneType: "None",
    Mapping[str, Any]: "a dict",
    Sequence[Mapping[str, Any]]: "a list of dicts",
}


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value matches an annotation, without conversion.

    An integer matches float, True and False match no number type, and NaN and infinity match none.
    Every value matches an annotation that pydantic cannot check.
    """
    from pydantic import PydanticUserError, ValidationError

    try:
        _adapter(annotation).validate_python(value)
    except ValidationError:
        return False
    except (PydanticUserError, NameError, TypeError):  # undefined name; annotation without a hash
        return True
    return True


@cache
def _adapter(annotation: Any) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    strict = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    return TypeAdapter(annotation, config=strict)


def describe(annotation: Any) -> str:
    """Describe an annotation in the words of an error message: "a number above 0 or None"."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(describe(choice) for choice in get_args(annotation))
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(repr, get_args(annotation)))}"
    if get_origin(annotation) is Annotated:
        kind, *limits = get_args(annotation)
        ends = [
            f"{words} {end if isinstance(end, int) else format(end, '.7g')}"
            for limit in limits
            if isinstance(limit, Interval)
            for words, end in (
                ("above", limit.gt), ("of at least", limit.ge), ("below", limit.lt),
                ("at most", limit.le),
            )
            if isinstance(end, int | float)
        ]  # fmt: skip
        return f"{describe(kind)} {' and '.join(ends)}".rstrip()
    if annotation in _WORDS:
        return _WORDS[annotation]
    name = str(annotation) if get_args(annotation) else getattr(annotation, "__name__", annotation)
    return str(name).replace("collections.abc.", "").replace("typing.", "")


def parameters_of(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the options of a part by name, with its base classes' where it passes options on.

    Args:
        part: a class or function.

    Returns:
        Parameters whose annotations are evaluated where they can be.
    """
    makers = [part]
    if isinstance(part, type):
        makers = [vars(base)["__init__"] for base in part.__mro__ if "__init__" in vars(base)]
    found: dict[str, inspect.Parameter] = {}
    for maker in makers:
        parameters: Mapping[str, inspect.Parameter] = {}
        try:
            parameters = inspect.signature(maker, eval_str=True).parameters
        except (TypeError, ValueError):  # written in C
            pass
        except Exception:  # an annotation with an undefined name
            parameters = inspect.signature(maker).parameters
        named = {
            name: p
            for name, p in parameters.items()
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and name != "self"
        }
        found = named | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found
