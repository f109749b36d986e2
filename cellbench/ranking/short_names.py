"""Names of methods as tables show them: what `--set` changed, without the path to it."""

import re
from collections import Counter
from collections.abc import Sequence

# A value may hold commas, so that a change ends where the next key begins.
_CHANGES = re.compile(r"([A-Za-z_][\w.]*)=(.*?)(?=, [A-Za-z_][\w.]*=|$)")


def short_names(methods: Sequence[str]) -> list[str]:
    """`DLA[model.decoder.type=FPN, model.matcher.k=3]` as `DLA[FPN, k=3]`.

    A part is named by itself, another key by its end. Two methods that would be named alike keep
    their whole names.

    Args:
        methods: of a table, each as its record has it.
    """
    short = {method: _shortened(method) for method in dict.fromkeys(methods)}
    alike = Counter(short.values())
    return [short[method] if alike[short[method]] == 1 else method for method in methods]


def _shortened(method: str) -> str:
    name, _, inside = method.partition("[")
    changes = _CHANGES.findall(inside.removesuffix("]"))
    # Only what was understood whole: a method may be called anything.
    if method != f"{name}[{', '.join('='.join(change) for change in changes)}]":
        return method
    ends = Counter(key.rpartition(".")[2] for key, _ in changes)
    texts = []
    for key, value in changes:
        end = key.rpartition(".")[2]
        whole = end if ends[end] == 1 else ".".join(key.split(".")[-2:])
        texts.append(value if end == "type" else f"{whole}={value}")
    return f"{name}[{', '.join(texts)}]"
