"""Grids: factors, their levels, and every combination of these."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETS = ("adi", "mbm", "vgg", "dcc")


def overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are equal, or one is nested in the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a factor.

    Attributes:
        label: name in tables.
        config: config of a method; empty to keep the base.
        changes: dotted keys and their values.
    """

    label: str
    config: str = ""
    changes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Factor:
    """A dimension of a grid and its levels."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, identified within its grid by its levels.

    Attributes:
        levels: (factor, label) in the order of the grid.
        config: config of the method.
        changes: dotted keys and their values.
    """

    levels: tuple[tuple[str, str], ...]
    config: str = field(compare=False)
    changes: tuple[tuple[str, Any], ...] = field(compare=False)

    @property
    def label(self) -> str:
        """The labels of the levels, for display."""
        return " / ".join(label for _, label in self.levels)


@dataclass(frozen=True, slots=True)
class Grid:
    """A validated grid file.

    Attributes:
        name: stem of the file.
        file: path of the file.
        title: title for display.
        layout: name of the paper's table that it reproduces; None for none.
        base: config that the axes change; empty for a grid of methods.
        factors: in the order of the file.
        datasets: dataset names.
        splits: split numbers of the protocol.
        seeds: seeds; every split is run with each.
        protocol: protocol name.
        parts: the included grids; empty for a grid with factors.
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
        """The grids with factors: the parts of a composed grid, else the grid itself."""
        return self.parts or (self,)

    def cells(self) -> Iterator[Cell]:
        """Yield every combination, the last factor changing fastest."""
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
