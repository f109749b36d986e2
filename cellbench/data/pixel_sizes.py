"""The calibrated size of a pixel in what a file states of itself."""

import math
from collections.abc import Sequence
from typing import Any

from cellbench.errors import UserError

EDGES_UM = (1e-4, 1e3)
"""Least and greatest edge of a pixel that a user may state, micrometres: from an electron
microscope's to a camera's."""
SCALES = (0.05, 20.0)
"""Least and greatest number of px that a cell should have per px that it has."""

# Micrometres of a unit, by its name in OME-XML and in ImageJ's metadata, in lower case.
_UM = {
    "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0,
    "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6,
    "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
# A resolution in a tag alone is that of a printer or a screen unless a microscope has it.
_LEAST_UM, _MOST_UM = 0.005, 8.0


def tiff_pixel_size(file: Any, series: Any) -> tuple[float, float] | None:
    """Edges (x, y) of a pixel in micrometres, from OME-XML, ImageJ's metadata or tags.

    Args:
        file: an open `tifffile.TiffFile`.
        series: the picture of the file that is read; each has a size of its own.

    Returns:
        None where nothing states a size that a microscope has.
    """
    try:
        return (
            plausible(_from_ome(file, series))
            or plausible(_from_imagej(file, series.keyframe))
            or _from_tags(file, series.keyframe)
        )
    except Exception:  # metadata of any shape; a file without good ones is read all the same
        return None


def plausible(edges: Sequence[Any] | None) -> tuple[float, float] | None:
    """Edges (x, y) of a pixel as numbers; None where either is missing, no number or absurd."""
    try:
        x, y = (float(edge) for edge in edges or (0, 0))
    except (TypeError, ValueError):
        return None
    least, most = EDGES_UM
    return (x, y) if all(least < size < most for size in (x, y)) else None


def check_edge(um_per_px: Any) -> None:
    """Refuse an edge of a pixel that no picture has; None, for one that is not known, is allowed.

    Raises:
        UserError: it is no finite number, or absurd.
    """
    if um_per_px is None:
        return
    least, most = EDGES_UM
    known = isinstance(um_per_px, int | float) and math.isfinite(um_per_px)
    if not known or not least <= um_per_px <= most:
        raise UserError(
            f"--um-per-px {str(um_per_px)[:40]} is no edge of a pixel in micrometres; give a "
            f"number from {least:g} to {most:g}, or none where it is not known."
        )


def _from_ome(file: Any, series: Any) -> tuple[float, float] | None:
    # Every command knows the ends above; only what reads pictures loads what decodes them.
    from cellbench.data.tiff_series import ome_images

    found = {_from_pixels(image["Pixels"]) for image in ome_images(file, series)}
    return found.pop() if len(found) == 1 else None


def _from_pixels(pixels: Any) -> tuple[float, float] | None:
    sizes = []
    for axis in "XY":
        size = pixels.get(f"PhysicalSize{axis}")
        if size is None:
            return None
        unit = str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).strip().lower()
        if unit not in _UM:
            return None
        sizes.append(float(size) * _UM[unit])
    return sizes[0], sizes[1]


def _from_imagej(file: Any, page: Any) -> tuple[float, float] | None:
    if not file.is_imagej:
        return None
    unit = str(file.imagej_metadata.get("unit", "")).strip().lower()
    across, down = _resolution(page)
    if unit not in _UM or not across or not down:
        return None
    return _UM[unit] / across, _UM[unit] / down


def _from_tags(file: Any, page: Any) -> tuple[float, float] | None:
    tag = page.tags.get(296)
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(tag.value) if tag is not None else 2)
    across, down = _resolution(page)
    if unit is None or not across or not down or file.is_imagej:
        return None
    found = unit / across, unit / down
    return found if all(_LEAST_UM <= size <= _MOST_UM for size in found) else None


def _resolution(page: Any) -> tuple[float, float]:
    found = []
    for code in (282, 283):
        tag = page.tags.get(code)
        if tag is None:
            return 0.0, 0.0
        above, below = tag.value
        found.append(above / below if below else 0.0)
    return found[0], found[1]
