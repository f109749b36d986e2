"""Selection of the main series of a TIFF file, and its metadata in OME-XML."""

from collections.abc import Sequence
from math import prod
from typing import Any

from cellbench.data.decoded import CannotDecodeError
from cellbench.data.planes import SeveralPlanesError
from cellbench.errors import UserError


def main_series(file: Any, name: str, wanted: int | None, notes: list[str]) -> tuple[Any, int]:
    """Select the main series of a TIFF file: no thumbnail, label, macro or pyramid level.

    Args:
        file: an open `tifffile.TiffFile`.
        name: name of the file, for messages.
        wanted: index from 0 among several candidates; None if the user gave none.
        notes: list that notes on omitted and selected series are appended to.

    Returns:
        The series, and the number of candidates.

    Raises:
        UserError: there are several candidates and `wanted` is None or not among them.
        CannotDecodeError: the file has no series.
    """
    every = [series for series in file.series if series.keyframe is not None]
    if not every:
        raise CannotDecodeError("no series")
    baseline = [series for series in every if series.name == "Baseline"]
    whole = baseline or [
        series
        for series in every
        if not (series.keyframe.is_reduced or series.keyframe.is_mask)
        and set("YX") <= set(series.axes)
    ]
    whole = whole or [max(every, key=_area)]
    left_out = len(every) - len(whole)
    largest = max(whole, key=_area)
    if len(whole) > 1 and all(
        series is largest or _is_smaller_copy(series, largest) for series in whole
    ):
        left_out, whole = left_out + len(whole) - 1, [largest]
    if left_out:
        noun = "smaller picture" if left_out == 1 else "smaller pictures"
        notes.append(f"{left_out} {noun} in the file left out")
    if len(whole) == 1:
        return whole[0], 1
    if wanted is None:
        sizes = ", ".join(
            f"{number} of {_lengths_of(series)} px" for number, series in enumerate(whole[:6], 1)
        )
        raise SeveralPlanesError(
            f"{name} has {len(whole)} pictures ({sizes}{', ...' if len(whole) > 6 else ''}); name "
            "one with --page."
        )
    if wanted >= len(whole):
        raise UserError(f"{name} has {len(whole)} pictures and --page is {wanted + 1}.")
    notes.append(f"picture {wanted + 1} of {len(whole)}")
    return whole[wanted], len(whole)


def missing_planes_note(file: Any, series: Any) -> str:
    """Return a note on planes that ImageJ's description declares and the file lacks; "" for none.

    A file cut off within a stack may still hold the first page; so does a page that was saved alone
    with the description of its stack. The two look alike, so the file is read with this note.
    """
    try:
        declared = int((file.imagej_metadata or {}).get("images", 1)) if file.is_imagej else 1
    except Exception:  # metadata may be malformed in any way
        return ""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    held = prod(length for letter, length in lengths.items() if letter not in "YXS")
    if declared <= held:
        return ""
    return f"its description declares {declared} planes and the file holds {held}"


def _area(series: Any) -> int:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return int(lengths.get("Y", 0)) * int(lengths.get("X", 0))


def _lengths_of(series: Any) -> str:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return f"{lengths.get('X')}x{lengths.get('Y')}"


def _is_smaller_copy(series: Any, largest: Any) -> bool:
    """Return whether a series has the aspect ratio of the largest and at most half its size."""
    small = dict(zip(series.axes, series.shape, strict=True))
    whole = dict(zip(largest.axes, largest.shape, strict=True))
    if small["X"] * 2 > whole["X"] or small["Y"] * 2 > whole["Y"]:
        return False
    ratio = (small["X"] / small["Y"]) / (whole["X"] / whole["Y"])
    slack = 1 / max(1, min(small["X"], small["Y"]))
    outer = [letter for letter in whole if letter not in "YXS" and whole[letter] > 1]
    return abs(ratio - 1) <= 2 * slack + 0.02 and not outer


def channel_names(file: Any, series: Any) -> Sequence[str]:
    """List the channel names in OME-XML, "" for an unnamed channel; empty without OME-XML."""
    try:
        known = [_names(image["Pixels"]) for image in ome_images(file, series)]
        return known[0] if known and all(names == known[0] for names in known) else ()
    except Exception:  # metadata may be malformed in any way; the image is read without names
        return ()


def _names(pixels: Any) -> list[str]:
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    return [" ".join(str(channel.get("Name", "")).split())[:40] for channel in channels]


def ome_images(file: Any, series: Any) -> list[Any]:
    """List the OME-XML image entries that match a series, as dictionaries.

    Returns:
        The only entry; or, if there are as many entries as series, the one with the index of the
        series; else (some series may be in other files) those with its name and size. Empty without
        OME-XML.
    """
    if not file.is_ome or not file.ome_metadata or len(file.ome_metadata) > 4 * 2**20:
        return []
    import tifffile

    images = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    if not isinstance(images, list):
        return [images]
    if len(images) == len(file.series):
        # A series is a sequence: its method `index` does not give its position in the file.
        return [images[k] for k, other in enumerate(file.series) if other is series]
    lengths = dict(zip(series.axes, series.shape, strict=True))
    wanted = (str(series.name), int(lengths["X"]), int(lengths["Y"]))
    return [
        image
        for image in images
        if (str(image.get("Name", "")), *(int(image["Pixels"][f"Size{a}"]) for a in "XY")) == wanted
    ]
