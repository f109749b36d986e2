"""Short names of methods for tables: what `--set` changed, without the path of its keys."""

import re
from collections import Counter
from collections.abc import Sequence

# A value may hold commas, so a change ends where the next key begins.
_CHANGES = re.compile(r"([A-Za-z_][\w.]*)=(.*?)(?=, [A-Za-z_][\w.]*=|$)")


def short_names(methods: Sequence[str]) -> list[str]:
    """Shorten names such as `DLA[model.decoder.type=FPN, model.matcher.k=3]` to `DLA[FPN, k=3]`.

    A part is shown by its type alone, another key by its last name. Methods whose short names
    would be equal keep their whole names.

    Args:
        methods: names in the records of a table.
    """
    short = {method: _shortened(method) for method in dict.fromkeys(methods)}
    alike = Counter(short.values())
    return [short[method] if alike[short[method]] == 1 else method for method in methods]


def _shortened(method: str) -> str:
    name, _, inside = method.partition("[")
    changes = _CHANGES.findall(inside.removesuffix("]"))
    # A name that does not parse completely is kept: a method may be called anything.
    if method != f"{name}[{', '.join('='.join(change) for change in changes)}]":
        return method
    ends = Counter(key.rpartition(".")[2] for key, _ in changes)
    texts = []
    for key, value in changes:
        end = key.rpartition(".")[2]
        whole = end if ends[end] == 1 else ".".join(key.split(".")[-2:])
        texts.append(value if end == "type" else f"{whole}={value}")
    return f"{name}[{', '.join(texts)}]"
