"""Evaluation protocols and their splits into training, validation and test images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cellbench.data.contracts import DataSet
from cellbench.data.named_dataset import find_dataset
from cellbench.data.part_sizes import part_sizes
from cellbench.data.stored_set import StoredSet
from cellbench.errors import UserError

SPLITS = range(5)

FOLDS, HALF, EVERYTHING = "folds", "folds-half", "everything"

# Unit that no split divides: (whether it is a single image, name of the group or image).
Unit = tuple[bool, str]
_Unit = TypeVar("_Unit", str, Unit)

_SMOKE = (4, 2, 2)
_DONORS = (3, 2, 3)


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation and test parts of a set, as lists of image ids.

    Attributes:
        train: images that a method is trained on.
        val: images for choosing checkpoint and thresholds; empty if the protocol has none.
        test: images that are scored once, after training.
    """

    train: list[str]
    val: list[str]
    test: list[str]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Properties of an evaluation protocol that do not depend on a set.

    Attributes:
        name: name on the command line.
        summary: description in one line.
        ranked: whether its scores enter a ranking; rankings never mix protocols.
        has_validation: whether a validation part is set aside; otherwise the last epoch is used
            and thresholds are chosen on the training images.
        held_out: whether the scored images are whole and were not trained on.
        sets: real sets that the protocol is defined for; None for all.
    """

    name: str
    summary: str
    ranked: bool
    has_validation: bool
    held_out: bool = True
    sets: tuple[str, ...] | None = None


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "v1",
            "train, validation and test at random; chosen on whole validation images",
            ranked=True,
            has_validation=True,
        ),
        Protocol(
            "mbm-donor",
            "as v1, but no donor is in two parts",
            ranked=True,
            has_validation=True,
            sets=("mbm",),
        ),
        Protocol(
            "literature",
            "train size of v1, no validation, last epoch, all the rest is test",
            ranked=True,
            has_validation=False,
        ),
        Protocol(
            "smoke",
            "a few images, to see that everything runs",
            ranked=False,
            has_validation=True,
        ),
        Protocol(
            "released",
            "scores crops of the training images, as the released DLA-Count code does",
            ranked=False,
            has_validation=True,
            held_out=False,
        ),
        Protocol(
            FOLDS,
            "the test part of v1; all others train, without a validation part",
            ranked=False,
            has_validation=False,
        ),
        Protocol(
            HALF,
            "as folds, with half of the training images: how much more images would help",
            ranked=False,
            has_validation=False,
        ),
        Protocol(
            EVERYTHING,
            "trained on every image, to count other pictures with; nothing is held out",
            ranked=False,
            has_validation=False,
            held_out=False,
        ),
    )
}


def holds_out(protocol: str) -> bool:
    """Return whether a protocol scores images not trained on; False for an unknown protocol."""
    return protocol in PROTOCOLS and PROTOCOLS[protocol].held_out


def find_protocol(name: str) -> Protocol:
    """Return the protocol of a name.

    Raises:
        UserError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise UserError(f"There is no protocol {name!r}; known are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def make_split(
    stored: StoredSet, dataset: DataSet | None = None, protocol: str = "v1", split: int = 0
) -> Split:
    """Split a set into training, validation and test images.

    Most protocols start from `numpy.random.default_rng(split).permutation(sorted ids)`. In a set
    with its own test part only the other images are permuted; in a set that is split by groups or
    specifies no sizes, its groups are. A small set without sizes is split into five folds instead,
    see `DataSet.folds_below`. `smoke` takes the first images of that order, so it never uses a
    test image of v1.

    Args:
        stored: the set on disk, real or simulated.
        dataset: the real set whose part sizes apply; by default `stored.stands_for`.
        protocol: a name in `PROTOCOLS`.
        split: 0 to 4.

    Raises:
        UserError: unknown protocol or split, a protocol that is not for this set, or an incomplete
            set.
    """
    rules = find_protocol(protocol)
    if split not in SPLITS:
        raise UserError(
            f"There is no split {split!r}; they are {SPLITS.start} to {SPLITS.stop - 1}."
        )
    if dataset is None:
        dataset = find_dataset(stored.stands_for)
    if rules.sets is not None and dataset.name not in rules.sets:
        raise UserError(
            f"Protocol {protocol} is for {', '.join(rules.sets)}, not for {stored.name}; "
            "use --protocol v1."
        )
    return _MAKERS[protocol](stored, dataset, np.random.default_rng(split), split)


def _v1(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    """Cut at random by published sizes or by shares of the images; or take one of five folds."""
    pool, own_test = _pool(stored, dataset)
    if dataset.parts is not None:
        _check_whole(stored, dataset, pool)
    elif not own_test and len(stored) < dataset.folds_below and len(pool) >= len(SPLITS):
        return _fold(pool, split)
    order = _permuted(pool, rng)
    train, val, test = dataset.parts or part_sizes(
        stored.name, [len(pool[unit]) for unit in order], bool(own_test)
    )
    return Split(
        train=_images(pool, order[:train]),
        val=_images(pool, order[train : train + val]),
        test=own_test or _images(pool, order[train + val : train + val + (test or 0)]),
    )


def _check_whole(stored: StoredSet, dataset: DataSet, pool: Mapping[Unit, list[str]]) -> None:
    """Validate that a set with published sizes of its parts has all its images and no others.

    Raises:
        UserError: it has not.
    """
    published = sum(size or 0 for size in dataset.parts or ())
    if len(pool) != published or len(stored) != dataset.images:
        raise UserError(
            f"{stored.name} has {len(stored)} images on disk and protocol v1 parts the "
            f"{dataset.images} of {dataset.title} as distributed; import the whole set, or use "
            "--protocol smoke."
        )


def _fold(pool: Mapping[Unit, list[str]], split: int) -> Split:
    """Split into five folds: one for testing, the next for validation, the others for training.

    Units are assigned in the same order for all splits, the largest first, each to the fold with
    the fewest images.
    """
    order = _permuted(pool, np.random.default_rng(SPLITS.start))
    folds: list[list[Unit]] = [[] for _ in SPLITS]
    for unit in sorted(order, key=lambda unit: -len(pool[unit])):
        min(folds, key=lambda fold: len(_images(pool, fold))).append(unit)
    test, val = folds[split], folds[(split + 1) % len(folds)]
    rest = [unit for unit in order if unit not in test and unit not in val]
    return Split(train=_images(pool, rest), val=_images(pool, val), test=_images(pool, test))


def _literature(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    parts = _v1(stored, dataset, rng, split)
    return Split(train=parts.train, val=[], test=parts.val + parts.test)


def _released(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    train = _v1(stored, dataset, rng, split).train
    return Split(train=train, val=list(train), test=list(train))


def _folds(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    parts = _v1(stored, dataset, rng, split)
    return Split(train=parts.train + parts.val, val=[], test=parts.test)


def _half(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    """Split as `folds`, with every second unit of its training part, in order."""
    parts = _folds(stored, dataset, rng, split)
    groups = dataset.by_group or dataset.parts is None
    kept: dict[str, list[str]] = {}
    for image_id in parts.train:
        unit = (stored.group(image_id) if groups else None) or image_id
        kept.setdefault(unit, []).append(image_id)
    return Split([i for unit in list(kept)[::2] for i in kept[unit]], parts.val, parts.test)


def _everything(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    return Split(train=stored.ids, val=[], test=stored.ids)


def _smoke(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    if dataset.parts is None:
        parts = _v1(stored, dataset, rng, split)
        order = [[image_id] for image_id in parts.train + parts.val]
    else:
        pool, _ = _pool(stored, dataset)
        order = [pool[unit] for unit in _permuted(pool, rng)]
    if len(order) < sum(_SMOKE):
        what = "groups of images" if dataset.by_group else "images"
        raise UserError(
            f"{stored.name} has {len(order)} {what} to choose from and protocol smoke needs "
            f"{sum(_SMOKE)}; import the whole set."
        )
    # Only the first image of a group, to have a few images instead of all of a few groups.
    images = [unit[0] for unit in order[: sum(_SMOKE)]]
    train, val, _ = _SMOKE
    return Split(images[:train], images[train : train + val], images[train + val :])


def _by_donor(stored: StoredSet, dataset: DataSet, rng: np.random.Generator, split: int) -> Split:
    images: dict[str, list[str]] = {}
    for image_id in stored.ids:
        donor = stored.group(image_id)
        if donor is None:
            raise UserError(
                f"The donor of {image_id} is not known; import {stored.name} with file names as "
                "published, BM_GRAZ_HE_<donor>_<slide>_<n>.png."
            )
        images.setdefault(donor, []).append(image_id)
    if len(images) != sum(_DONORS):
        raise UserError(
            f"{stored.name} has images of {len(images)} donors and protocol mbm-donor parts "
            f"{sum(_DONORS)}; import the whole set."
        )
    order = _permuted(sorted(images), rng)
    train, val, _ = _DONORS
    cuts = (order[:train], order[train : train + val], order[train + val :])
    return Split(*([i for donor in donors for i in images[donor]] for donors in cuts))


_MAKERS: dict[str, Callable[[StoredSet, DataSet, np.random.Generator, int], Split]] = {
    "v1": _v1,
    "mbm-donor": _by_donor,
    "literature": _literature,
    "smoke": _smoke,
    "released": _released,
    FOLDS: _folds,
    HALF: _half,
    EVERYTHING: _everything,
}


def _permuted(units: Iterable[_Unit], rng: np.random.Generator) -> list[_Unit]:
    # Permuting indices gives the same order as permuting the list, and keeps str as str.
    listed = list(units)
    return [listed[i] for i in rng.permutation(len(listed))]


def _images(pool: Mapping[Unit, list[str]], units: list[Unit]) -> list[str]:
    """List the images of some units of a pool, in their order."""
    return [image_id for unit in units for image_id in pool[unit]]


def _pool(stored: StoredSet, dataset: DataSet) -> tuple[dict[Unit, list[str]], list[str]]:
    """Collect the units that are split, and the set's own test part.

    Returns:
        The image ids of each unit (an image, or a group that no split divides), sorted by unit;
        the sorted ids of the set's own test part, empty where it has none.
    """
    ids, own_test = stored.ids, []
    published = dataset.parts
    has_own_test = (
        any(stored.part(image_id) == "test" for image_id in ids)
        if published is None
        else published[2] is None
    )
    if has_own_test:
        unknown = [i for i in ids if stored.part(i) not in ("train", "test")]
        if unknown:
            raise UserError(
                f"{stored.name} is distributed in parts, but {unknown[0]} is in none; "
                "import it from folders trainval/ and test/."
            )
        own_test = [i for i in ids if stored.part(i) == "test"]
        ids = [i for i in ids if stored.part(i) == "train"]
    pool: dict[Unit, list[str]] = {}
    for image_id in ids:
        group = stored.group(image_id) if dataset.by_group or published is None else None
        pool.setdefault((group is None, group or image_id), []).append(image_id)
    return {unit: pool[unit] for unit in sorted(pool)}, own_test
