"""Which of the pictures in a TIFF file is the picture, and what its channels are called."""

from collections.abc import Sequence
from typing import Any

from cellbench.data.decoded import CannotDecodeError
from cellbench.errors import UserError


def main_series(file: Any, name: str, wanted: int | None, notes: list[str]) -> tuple[Any, int]:
    """Choose the series that is the picture: no thumbnail, label, macro or level of a pyramid.

    Args:
        file: an open `tifffile.TiffFile`.
        name: of it, for messages.
        wanted: which of several, from 0, where the user named one.
        notes: takes what was left out.

    Returns:
        The series, and how many there were to choose from.

    Raises:
        UserError: there are several pictures and none was named, or one that is not there.
        CannotDecodeError: there is none.
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
        raise UserError(
            f"{name} has {len(whole)} pictures ({sizes}{', ...' if len(whole) > 6 else ''}); name "
            "one with --page."
        )
    if wanted >= len(whole):
        raise UserError(f"{name} has {len(whole)} pictures and --page is {wanted + 1}.")
    notes.append(f"picture {wanted + 1} of {len(whole)}")
    return whole[wanted], len(whole)


def _area(series: Any) -> int:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return int(lengths.get("Y", 0)) * int(lengths.get("X", 0))


def _lengths_of(series: Any) -> str:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return f"{lengths.get('X')}x{lengths.get('Y')}"


def _is_smaller_copy(series: Any, largest: Any) -> bool:
    """Whether a picture has the shape of another one and is at most half as wide."""
    own = dict(zip(series.axes, series.shape, strict=True))
    whole = dict(zip(largest.axes, largest.shape, strict=True))
    if own["X"] * 2 > whole["X"] or own["Y"] * 2 > whole["Y"]:
        return False
    ratio = (own["X"] / own["Y"]) / (whole["X"] / whole["Y"])
    slack = 1 / max(1, min(own["X"], own["Y"]))
    outer = [letter for letter in whole if letter not in "YXS" and whole[letter] > 1]
    return abs(ratio - 1) <= 2 * slack + 0.02 and not outer


def channel_names(file: Any, series: Any) -> Sequence[str]:
    """Names of the channels in OME-XML, "" where one has none; empty where there are none."""
    try:
        known = [_names(image["Pixels"]) for image in ome_images(file, series)]
        return known[0] if known and all(names == known[0] for names in known) else ()
    except Exception:  # names are for people; a file without good ones is read all the same
        return ()


def _names(pixels: Any) -> list[str]:
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    return [" ".join(str(channel.get("Name", "")).split())[:40] for channel in channels]


def ome_images(file: Any, series: Any) -> list[Any]:
    """The entries of OME-XML that may be those of a series, as dictionaries.

    Returns:
        The entry at the place of the series, where there are as many entries as series; else, such
        as where some are in other files, those of its name and size. Empty without OME-XML.
    """
    if not file.is_ome or not file.ome_metadata or len(file.ome_metadata) > 4 * 2**20:
        return []
    import tifffile

    images = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    if not isinstance(images, list):
        return [images]
    if len(images) == len(file.series):
        # The method `index` of a series is that of every sequence, not its place in the file.
        return [images[k] for k, other in enumerate(file.series) if other is series]
    lengths = dict(zip(series.axes, series.shape, strict=True))
    wanted = (str(series.name), int(lengths["X"]), int(lengths["Y"]))
    return [
        image
        for image in images
        if (str(image.get("Name", "")), *(int(image["Pixels"][f"Size{a}"]) for a in "XY")) == wanted
    ]
