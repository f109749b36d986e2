"""Selection of the planes of a multi-dimensional image file that are counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

from cellbench.errors import UserError

PROJECTIONS = ("max", "mean", "min", "median")
"""Pixelwise reductions of several planes to one."""

_NAMES = {
    "C": "channel",
    "Z": "z slice",
    "T": "time point",
    "S": "sample",
    "R": "tile",
    "V": "view",
}
_RGB = ("red", "green", "blue")
_SHOWN = 6
_MOST_PLANES = 4096
_EVERY = "all"


class SeveralPlanesError(UserError):
    """A file has several planes and none was selected."""


@dataclass(frozen=True, slots=True)
class PlaneChoice:
    """The user's selection of channel, page and projection for files of several planes.

    Attributes:
        channel: number from 1, name, or three of them with commas as red, green and blue.
        page: number from 1 along the only axis besides channels, or "Z=3,T=1" for several axes.
        project: one of `PROJECTIONS`, applied over the other axes that `page` does not fix.
    """

    channel: str | None = None
    page: str | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        if self.project is not None and self.project not in PROJECTIONS:
            raise UserError(
                f"--project {self.project!r} is none of {', '.join(PROJECTIONS)}; name one of them."
            )


@dataclass(frozen=True, slots=True)
class SelectedPlanes:
    """Selected planes of a file.

    Attributes:
        colours: for each colour channel (one, or red, green and blue) the planes that are reduced
            to it, each an index by axis.
        project: the reduction, one of `PROJECTIONS`; None for a single plane.
        notes: descriptions of the selection, as shown to users.
    """

    colours: tuple[tuple[Mapping[str, int], ...], ...]
    project: str | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class StackPlane:
    """Position of a plane in its file, as other programs number it.

    Attributes:
        number: plane number from 1, in ImageJ's order: channels, then z slices, then time points.
        z: z slice, from 0.
        t: time point, from 0.
    """

    number: int = 1
    z: int = 0
    t: int = 0


def selects_every_plane(choice: PlaneChoice) -> bool:
    """Return whether `page` is "all", "T=all", "Z=3,T=all" or the like."""
    parts = (choice.page or "").split(",")
    return any(part.rpartition("=")[2].strip().lower() == _EVERY for part in parts)


def single_planes(
    axes: Mapping[str, int], choice: PlaneChoice, *, name: str
) -> list[tuple[str, PlaneChoice]]:
    """Expand a choice of every plane into one choice per plane.

    Args:
        axes: length by letter, see `choose_planes`.
        choice: `selects_every_plane` is true of it.
        name: of the file, for messages.

    Returns:
        Label (such as "T03" or "T03_Z1") and choice of each plane, in the order of the axes; for a
        file with one plane an empty label and the choice without its page.

    Raises:
        UserError: the file lacks an axis of `page`, or `page` has one twice; "all" alone is
            combined with a projection; or more than 4,096 planes would be counted.
    """
    several = {letter: n for letter, n in axes.items() if n > 1 and letter != "C"}
    if not several:
        return [("", replace(choice, page=None))]
    parts = [part.strip() for part in (choice.page or "").split(",")]
    fixed = [part for part in parts if part.rpartition("=")[2].strip().lower() != _EVERY]
    every = [part.rpartition("=")[0].strip().upper() for part in parts if part not in fixed]
    if every == [""] and not fixed:
        every = list(several)
        if choice.project is not None:
            raise UserError(
                f"--page {_EVERY} leaves no planes of {name} to project; name the axis whose "
                f"planes are counted, such as --page {every[-1]}={_EVERY}, or leave --project out."
            )
    # A number without a letter is of the only axis.
    taken = {part.rpartition("=")[0].strip().upper() or next(iter(several)) for part in fixed}
    if not set(every) <= set(several) - taken or len(set(every)) < len(every):
        ways = ", ".join(f"{letter}={_EVERY}" for letter in several)
        raise UserError(
            f"{name} has {_lengths(several)} and --page is {(choice.page or '')[:40]!r}; it takes "
            f"{_EVERY}, {ways}."
        )
    if fixed:  # an error quotes what the user gave, not the page of a single plane
        _parse_pages(several, replace(choice, page=",".join(fixed)), name)
    numbers = [range(1, several[letter] + 1) for letter in every]
    check_number_of_planes(prod(map(len, numbers)), name=name)
    found = []
    for index in product(*numbers):
        places = list(zip(every, index, strict=True))
        page = ",".join([*fixed, *(f"{letter}={number}" for letter, number in places)])
        label = "_".join(
            f"{letter if letter in _NAMES else 'P'}{number:0{len(str(several[letter]))}d}"
            for letter, number in places
        )
        found.append((label, replace(choice, page=page)))
    return found


def check_number_of_planes(planes: int, *, name: str) -> None:
    """Check the number of planes that are counted of a file.

    Raises:
        UserError: there are more than 4,096.
    """
    if planes > _MOST_PLANES:
        raise UserError(
            f"{name} has {planes} planes and at most {_MOST_PLANES} are counted; cut it into "
            "shorter stacks."
        )


FIRST_PLANE = StackPlane()
"""Position in a file of one plane, and of a projection of several."""


def stack_plane(axes: Mapping[str, int], chosen: SelectedPlanes) -> StackPlane:
    """Return the position of the selected plane in its file; the first of several channels.

    Args:
        axes: length by letter, see `choose_planes`.
        chosen: the selected planes.
    """
    if chosen.project is not None:
        return FIRST_PLANE
    place = chosen.colours[0][0]
    order = [letter for letter in "TZC" if letter in axes]
    if set(axes) - set(order):  # axes without a known meaning keep the file's order
        order = list(axes)
    number = 0
    for letter in order:
        number = number * axes[letter] + place.get(letter, 0)
    return StackPlane(number + 1, place.get("Z", 0), place.get("T", 0))


def choose_planes(
    axes: Mapping[str, int],
    choice: PlaneChoice,
    *,
    name: str,
    channel_names: Sequence[str] = (),
    colour: bool = False,
) -> SelectedPlanes:
    """Select the planes of a file that are counted.

    Args:
        axes: length by tifffile's axis letter, without the axes of a plane (Y, X and the samples
            of a colour).
        choice: the user's selection.
        name: name of the file, for messages.
        channel_names: names along the axis C, where the file has them.
        colour: whether a plane has red, green and blue; see `colour_index`.

    Raises:
        UserError: the file has several planes and none is selected, or the selected one does not
            exist; one sentence that lists them.
    """
    several = {letter: length for letter, length in axes.items() if length > 1}
    notes: list[str] = []
    channels: list[dict[str, int]] = [{}]
    if "C" in several:
        length = several.pop("C")
        channels = _parse_channels(length, choice, name, channel_names, several, notes)
    elif choice.channel is not None and not colour and choice.channel.strip() != "1":
        raise UserError(
            f"{name} has one channel and --channel is {choice.channel!r}; leave it out."
        )
    if choice.page is not None and not several and choice.page.strip() != "1":
        raise UserError(f"{name} has one page and --page is {choice.page!r}; leave it out.")
    if several and choice.page is None and choice.project is None:
        raise SeveralPlanesError(_several_planes(name, several, 1, channel_names))
    fixed = _parse_pages(several, choice, name) if several and choice.page is not None else {}
    for letter, index in fixed.items():
        notes.append(f"{_axis_name(letter)} {index + 1} of {several[letter]}")
    free = {letter: length for letter, length in several.items() if letter not in fixed}
    if free and choice.project is None:
        raise SeveralPlanesError(_several_planes(name, free, 1, channel_names))
    number = 1
    for length in free.values():
        number *= length
    if number > _MOST_PLANES:
        raise UserError(
            f"{name} has {number} planes to project and at most {_MOST_PLANES} are taken; name "
            "one with --page."
        )
    if free:
        over = " and ".join(f"{length} {_axis_name(letter)}s" for letter, length in free.items())
        notes.append(f"{choice.project} over {over}")
    places = [
        fixed | dict(zip(free, index, strict=True))
        for index in product(*(range(length) for length in free.values()))
    ]
    colours = tuple(tuple(place | channel for place in places) for channel in channels)
    return SelectedPlanes(colours, choice.project if free else None, tuple(notes))


def colour_index(choice: PlaneChoice, name: str) -> int | None:
    """Return the colour index (0 to 2) that `channel` selects of a colour image; None for all.

    Raises:
        UserError: `channel` is not one of its colours.
    """
    if choice.channel is None:
        return None
    text = choice.channel.strip().lower()
    if text in _RGB:
        return _RGB.index(text)
    if text in ("1", "2", "3"):
        return int(text) - 1
    raise UserError(
        f"{name} is a colour picture and --channel is {choice.channel!r}; its channels are "
        f"1 or {_RGB[0]}, 2 or {_RGB[1]}, 3 or {_RGB[2]}."
    )


def _parse_channels(
    length: int,
    choice: PlaneChoice,
    name: str,
    names: Sequence[str],
    others: Mapping[str, int],
    notes: list[str],
) -> list[dict[str, int]]:
    if choice.channel is None:
        raise UserError(_several_planes(name, others, length, names))
    wanted = [part.strip() for part in choice.channel.split(",")]
    known = [text.casefold() for text in names]
    found = []
    for text in wanted:
        if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= length:
            found.append(int(text) - 1)
        elif known.count(text.casefold()) == 1 and known.index(text.casefold()) < length:
            found.append(known.index(text.casefold()))
        else:
            raise UserError(
                f"{name} has no channel {text[:40]!r}; --channel takes {_options(length, names)}."
            )
    if len(found) not in (1, 3):
        raise UserError(
            f"--channel {choice.channel!r} names {len(found)} channels; name one, or three that "
            "become red, green and blue."
        )
    titles = [f"{index + 1}{_channel_label(names, index)}" for index in found]
    noun = "channel" if len(found) == 1 else "channels"
    notes.append(f"{noun} {', '.join(titles)} of {length}")
    return [{"C": index} for index in found]


def _parse_pages(several: Mapping[str, int], choice: PlaneChoice, name: str) -> dict[str, int]:
    assert choice.page is not None
    fixed = {}
    for part in choice.page.split(","):
        letter, equals, number = (text.strip() for text in part.partition("="))
        if not equals:
            letter, number = (next(iter(several)) if len(several) == 1 else ""), letter
        letter = letter.upper()
        valid = number.isascii() and number.isdecimal() and len(number) < 10
        valid = valid and letter not in fixed  # an axis may be given once
        if letter not in several or not valid or not 1 <= int(number) <= several[letter]:
            ways = [f"{key}=1 to {key}={length}" for key, length in several.items()]
            alone = f"1 to {next(iter(several.values()))}" if len(several) == 1 else ", ".join(ways)
            raise UserError(
                f"{name} has {_lengths(several)} and --page is {choice.page[:40]!r}; it takes "
                f"{alone}."
            )
        fixed[letter] = int(number) - 1
    return fixed


def _several_planes(
    name: str, others: Mapping[str, int], channels: int, channel_names: Sequence[str]
) -> str:
    parts, ways = [], []
    if channels > 1:
        parts.append(f"{channels} channels ({_options(channels, channel_names)})")
        ways.append("--channel")
    if others:
        parts.append(_lengths(others))
        page = "" if len(others) == 1 else " " + ",".join(f"{letter}=1" for letter in others)
        ways.append(f"--page{page} or --project max")
    return f"{name} has {' and '.join(parts)}; name what is counted with {' and '.join(ways)}."


def _lengths(axes: Mapping[str, int]) -> str:
    several = len(axes) > 1
    return " and ".join(
        f"{length} {_axis_name(letter)}s" + (f" ({letter})" if several else "")
        for letter, length in axes.items()
    )


def _options(length: int, names: Sequence[str]) -> str:
    shown = [f"{index + 1}{_channel_label(names, index)}" for index in range(min(length, _SHOWN))]
    return ", ".join(shown) + (f", ... {length}" if length > _SHOWN else "")


def _channel_label(names: Sequence[str], index: int) -> str:
    return f" {names[index]}" if index < len(names) and names[index] else ""


def _axis_name(letter: str) -> str:
    return _NAMES.get(letter, "page")
