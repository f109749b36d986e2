"""Reading of untrusted YAML and JSON configs: plain values of limited size and depth."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from cellbench.errors import UserError
from cellbench.files.reading import read_file

LARGEST_BYTES = 256 * 2**10
DEEPEST = 20
LARGEST_NUMBER = 2**53
"""Above it a float no longer represents every whole number."""


def read_data(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON config.

    Args:
        path: the file; its suffix selects YAML or JSON.

    Returns:
        Values of JSON's types by key.

    Raises:
        UserError: it is no regular file, too large, not UTF-8, damaged, or more than plain data.
    """
    try:
        text = read_file(path, most=LARGEST_BYTES).decode("utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"The config {path} cannot be read ({reason}).") from None
    except UnicodeDecodeError:
        raise UserError(f"The config {path} is not UTF-8 text; save it as that.") from None
    is_json = path.suffix == ".json"
    try:
        values = json.loads(text) if is_json else yaml.load(text, Loader=_PlainLoader)
    except yaml.constructor.ConstructorError as error:
        raise UserError(
            f"{path} holds more than plain values ({' '.join(str(error.problem).split())[:200]}); "
            "tags and aliases of YAML are not followed: write a .py config for more."
        ) from None
    except (RecursionError, MemoryError):
        raise UserError(f"{path} is nested more than {DEEPEST} deep, as no config is.") from None
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} cannot be read as a config ({reason}).") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys with values, as a config does.")
    check_plain(values, str(path))
    return values


def check_plain(value: Any, name: str, path: str = "", depth: int = 0) -> None:
    """Refuse all but JSON's types: text, numbers, true, false, null, lists, and keys of text.

    Args:
        value: value in a config.
        name: name of the file, for messages.
        path: dotted key of `value`.
        depth: depth of `value` in the file.

    Raises:
        UserError: it is of another type, nested too deeply, or a number that is not finite or
            too large.
    """
    where = f"{name}: {path}" if path else name
    if depth > DEEPEST:
        raise UserError(f"{name} is nested more than {DEEPEST} deep, as no config is.")
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where} has the key {key!r}, where text is wanted.")
            check_plain(child, name, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            check_plain(child, name, f"{path}.{index}", depth + 1)
    elif type(value) in (int, float):
        if not abs(value) <= LARGEST_NUMBER:  # NaN is refused too
            raise UserError(f"{where} is {str(value)[:40]}: finite numbers up to 2^53 are wanted.")
    elif value is not None and type(value) not in (str, bool):
        raise UserError(f"{where} is a {type(value).__name__}: a config holds plain values.")


class _PlainLoader(yaml.SafeLoader):
    """Loader of YAML's own types, without aliases, whose few bytes can expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                problem=f"the alias *{event.anchor} is not read", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


# Numbers such as 1e-4, which YAML 1.1 reads as text.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)
