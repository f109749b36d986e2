"""What a comparison is made of: factors, their levels, and every combination of these."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETS = ("adi", "mbm", "vgg", "dcc")


def overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are one, or one lies below the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a factor.

    Attributes:
        label: what tables call it.
        config: of a method; empty where the base stays.
        changes: dotted keys and their values.
    """

    label: str
    config: str = ""
    changes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Factor:
    """What a grid varies."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination; within a grid its levels say which.

    Attributes:
        levels: (factor, label) in the order of the grid.
        config: of the method.
        changes: dotted keys and their values.
    """

    levels: tuple[tuple[str, str], ...]
    config: str = field(compare=False)
    changes: tuple[tuple[str, Any], ...] = field(compare=False)

    @property
    def label(self) -> str:
        """The labels, for people."""
        return " / ".join(label for _, label in self.levels)


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid file, checked.

    Attributes:
        name: of the file.
        file: where it is.
        title: for people.
        layout: the paper's table; None for none.
        base: config that the axes change; empty for a grid of methods.
        factors: what varies, in the order of the file.
        datasets: where it is compared.
        splits: of the protocol.
        seeds: of every draw.
        protocol: name.
        parts: the grids that it is made of; empty for one that has factors.
    """

    name: str
    file: Path
    title: str
    layout: str | None
    base: str
    factors: tuple[Factor, ...]
    datasets: tuple[str, ...] = SETS
    splits: tuple[int, ...] = (0, 1, 2, 3, 4)
    seeds: tuple[int, ...] = (0,)
    protocol: str = "v1"
    parts: tuple["Grid", ...] = ()

    @property
    def simple(self) -> tuple["Grid", ...]:
        """The grids with factors that it is made of: its parts, or itself."""
        return self.parts or (self,)

    def cells(self) -> Iterator[Cell]:
        """Every combination, the last factor changing fastest."""
        for chosen in itertools.product(*(factor.levels for factor in self.factors)):
            configs = [level.config for level in chosen if level.config]
            yield Cell(
                levels=tuple(
                    (factor.name, level.label)
                    for factor, level in zip(self.factors, chosen, strict=True)
                ),
                config=configs[0] if configs else self.base,
                changes=tuple(change for level in chosen for change in level.changes),
            )
