"""What a comparison leaves to read: the paper's tables, effects, tests and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellbench.results.runs import Run


@dataclass(frozen=True, slots=True)
class GridRun:
    """A finished run and its place in a grid.

    Attributes:
        levels: (factor, label) in the order of the grid.
        run: what its record says.
    """

    levels: tuple[tuple[str, str], ...]
    run: Run


def write_report(
    folder: Path, *, grid_name: str, layout: str | None, runs: Sequence[GridRun]
) -> list[Path]:
    """Write the tables and pictures of a grid.

    Args:
        folder: made if it is not there.
        grid_name: of the grid file.
        layout: "table2" to "table5" for the paper's tables, None for a factorial grid.
        runs: finished ones, of any sets; simulated sets are never mixed with real ones.

    Returns:
        The files, the Markdown page first; empty without runs.
    """
    return []
