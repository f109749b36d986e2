"""Which numbers a config may hold: one range for every number of the schema."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cellbench.errors import UserError


@dataclass(frozen=True, slots=True)
class Range:
    """Allowed numbers.

    Attributes:
        least: lower end.
        most: upper end; infinity for none.
        above: whether `least` itself is not allowed.
        below: whether `most` itself is not allowed.
        whole: whether only whole numbers are allowed.
    """

    least: float
    most: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is allowed; NaN and infinity never are."""
        if not _finite(value) or (self.whole and value != int(value)):
            return False
        over = value > self.least if self.above else value >= self.least
        return over and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        """As a message says it."""
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.least:g}" if self.above else f"of at least {self.least:g}"
        if self.most == math.inf:
            return f"{kind} {low}"
        return f"{kind} {low} and {'below' if self.below else 'at most'} {self.most:g}"


_COUNT = Range(1, 1_000_000, whole=True)
_SHARE = Range(0, 1)

# Upper ends stop what no machine could hold or finish; no published recipe comes near them.
RANGES: Mapping[str, Range] = {
    "recipe": _COUNT,
    "optimizer.lr": Range(0, above=True),
    "optimizer.trunk_lr": Range(0),
    "optimizer.weight_decay": Range(0),
    "optimizer.clip_norm": Range(0, above=True),
    "optimizer.momentum": Range(0, 1, below=True),
    "schedule.warmup": _SHARE,
    "schedule.final_lr": _SHARE,
    "schedule.ema": Range(0, 1, below=True),
    "schedule.validations": _COUNT,
    "schedule.first_validation": _SHARE,
    "schedule.budget_s": Range(0, 365 * 24 * 3600, above=True),
    "data.radius_px": Range(0, above=True),
    "data.epochs": _COUNT,
    "data.batch_size": Range(1, 65_536, whole=True),
    "data.crops_per_image": Range(1, 65_536, whole=True),
    "data.input_scale": Range(0, 100, above=True),
}


def check_ranges(plain: Mapping[str, Any]) -> None:
    """Check every number of a config.

    Args:
        plain: the config as nested dicts.

    Raises:
        UserError: a number of the schema is outside its range, or any other is not finite; one
            sentence with the path of the key.
    """
    for path, value in _numbers(plain, ""):
        allowed = RANGES.get(path)
        if allowed is not None and value not in allowed:
            raise UserError(f"{path}: {allowed} is wanted here, not {_shown(value)}.")
        if not _finite(value):
            raise UserError(
                f"{path}: a finite number of at most 64 bits is wanted here, not {_shown(value)}."
            )


def _numbers(node: Any, path: str) -> Iterator[tuple[str, float]]:
    """Every number below a node, with its path."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _numbers(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from _numbers(child, f"{path}.{index}")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path, node


def _finite(value: float) -> bool:
    """Whether a number is neither NaN nor infinite, and fits 64 bits if it is whole."""
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _shown(value: float) -> str:
    """A number as it came; of a long whole number its length."""
    if isinstance(value, int) and not _finite(value):
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)
