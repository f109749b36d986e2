"""Regions drawn in the viewer: `regions.json` in the counted folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.outline_areas import even_odd_area
from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import write_atomically
from cellbench.ranking.tables import plain

REGIONS = "regions.json"
_MOST_REGIONS = 1000
_MOST_CORNERS = 10_000


@dataclass(frozen=True, slots=True)
class Region:
    """Named polygon.

    Attributes:
        name: name that users give it.
        corners: (x, y) px of each corner, three or more.
    """

    name: str
    corners: tuple[tuple[float, float], ...]

    @property
    def area_px(self) -> float:
        """Area in px, by the even-odd rule."""
        return even_odd_area([np.array(self.corners)])

    def holds(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Select the points inside, by the even-odd rule; the polygon may intersect itself.

        Args:
            points: (N, 2), (x, y) px.

        Returns:
            (N,) mask.
        """
        inside = np.zeros(len(points), dtype=bool)
        px, py = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
        for (x1, y1), (x2, y2) in zip(
            self.corners, (*self.corners[1:], self.corners[0]), strict=True
        ):
            crosses = (y1 > py) != (y2 > py)
            if crosses.any():
                inside ^= crosses & (px < (x2 - x1) * (py - y1) / (y2 - y1) + x1)
        return inside


def read_regions(folder: Path) -> dict[str, list[Region]]:
    """Read the regions of a folder by picture; empty if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / REGIONS
    if not path.exists():
        return {}
    try:
        document = read_json(path)
        if not isinstance(document, dict):
            raise ValueError("it holds no JSON object")
        return {str(image): regions_of(value) for image, value in document.items()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason}); move it away.") from error


def write_regions(folder: Path, regions: Mapping[str, Sequence[Region]]) -> None:
    """Write all regions of a folder, replacing those on disk.

    Raises:
        UserError: the disk is full or not writable.
    """
    document = {
        image: [{"name": each.name, "corners": each.corners} for each in drawn]
        for image, drawn in regions.items()
        if drawn
    }
    write_atomically(folder / REGIONS, (json.dumps(document, indent=1) + "\n").encode("utf-8"))


def with_changes(
    known: Sequence[Region], added: Sequence[Region], removed: Sequence[Region]
) -> list[Region]:
    """Return the regions of a picture after additions and removals.

    Args:
        known: regions in the file.
        added: new regions; a number is appended to a name that is in use.
        removed: regions to remove, matched by name and corners; missing ones are ignored.

    Raises:
        ValueError: there are too many.
    """
    gone = [(plain(each.name), each.corners) for each in removed]
    kept = [each for each in known if (plain(each.name), each.corners) not in gone]
    used = {each.name for each in kept}
    for each in added:
        names = (each.name, *(f"{each.name[:190]} ({n})" for n in range(2, _MOST_REGIONS + 2)))
        name = next(name for name in names if name not in used)
        used.add(name)
        kept.append(Region(name, each.corners))
    if len(kept) > _MOST_REGIONS:
        raise ValueError(f"a picture has up to {_MOST_REGIONS} regions")
    return kept


def regions_of(value: Any) -> list[Region]:
    """Parse regions from JSON.

    Raises:
        ValueError: they are no polygons with names.
    """
    if not isinstance(value, list) or len(value) > _MOST_REGIONS:
        raise ValueError(f"a picture has a list of up to {_MOST_REGIONS} regions")
    found = []
    for each in value:
        name, corners = (
            (each.get("name"), each.get("corners")) if isinstance(each, dict) else (0, 0)
        )
        if not isinstance(name, str) or len(name) > 200:
            raise ValueError("a region has a name of up to 200 characters")
        if not isinstance(corners, list) or not 3 <= len(corners) <= _MOST_CORNERS:
            raise ValueError(f"region {name!r} has three to {_MOST_CORNERS} corners")
        try:
            table = np.array(corners, dtype=np.float64)
        except (TypeError, OverflowError):
            table = np.zeros(0)
        if table.shape != (len(corners), 2) or not (np.abs(table) < 2**26).all():
            raise ValueError(f"a corner of region {name!r} is no place in a picture")
        found.append(Region(name, tuple((float(x), float(y)) for x, y in table)))
    return found
