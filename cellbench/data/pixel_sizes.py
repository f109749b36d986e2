"""Pixel size in micrometres from a file's metadata."""

import math
from collections.abc import Sequence
from typing import Any

from cellbench.errors import UserError

EDGES_UM = (1e-4, 1e3)
"""Least and greatest pixel edge that a user may specify, micrometres: from electron microscopes
to cameras."""
SCALES = (0.05, 20.0)
"""Least and greatest factor by which images may be resized to reach a given cell size."""

# Micrometres per unit, by the unit's name in OME-XML and ImageJ's metadata, in lower case.
_UM = {
    "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0,
    "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6,
    "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
# A TIFF resolution tag alone often describes a printer or screen: only pixel sizes within a
# microscope's range are taken from it.
_LEAST_UM, _MOST_UM = 0.005, 8.0


def tiff_pixel_size(file: Any, series: Any) -> tuple[float, float] | None:
    """Read the pixel size of a TIFF series from OME-XML, ImageJ's metadata or tags.

    Args:
        file: an open `tifffile.TiffFile`.
        series: the series that is read; each has its own pixel size.

    Returns:
        (x, y) edges in micrometres; None without a plausible size.
    """
    try:
        return (
            plausible(_from_ome(file, series))
            or plausible(_from_imagej(file, series.keyframe))
            or _from_tags(file, series.keyframe)
        )
    except Exception:  # metadata may be malformed in any way; the image is still read
        return None


def plausible(edges: Sequence[Any] | None) -> tuple[float, float] | None:
    """Convert pixel edges to (x, y) floats; None if one is missing, no number or out of range."""
    try:
        x, y = (float(edge) for edge in edges or (0, 0))
    except (TypeError, ValueError):
        return None
    least, most = EDGES_UM
    return (x, y) if all(least < size < most for size in (x, y)) else None


def check_edge(um_per_px: Any) -> None:
    """Validate a pixel edge in micrometres; None stands for an unknown one.

    Raises:
        UserError: it is not a finite number within `EDGES_UM`.
    """
    if um_per_px is None:
        return
    least, most = EDGES_UM
    finite = isinstance(um_per_px, int | float) and math.isfinite(um_per_px)
    if not finite or not least <= um_per_px <= most:
        raise UserError(
            f"--um-per-px {str(um_per_px)[:40]} is no edge of a pixel in micrometres; give a "
            f"number from {least:g} to {most:g}, or none where it is not known."
        )


def _from_ome(file: Any, series: Any) -> tuple[float, float] | None:
    # Imported here: every command imports this module for its limits, few decode images.
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
