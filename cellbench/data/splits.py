"""Protocols: which images a method learns from, is chosen on, and is scored on."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cellbench.data.contracts import DataSet
from cellbench.data.stored_set import StoredSet
from cellbench.errors import UserError
from cellbench.registry import DATASETS

SPLITS = range(5)
_SMOKE = (4, 2, 2)
_DONORS = (3, 2, 3)


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a set, as lists of image ids.

    Attributes:
        train: what a method learns from.
        val: what its checkpoint and thresholds are chosen on; empty under `literature`.
        test: what is scored once, after training.
    """

    train: list[str]
    val: list[str]
    test: list[str]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is known of a protocol without looking at a set.

    Attributes:
        name: what users type.
        summary: one line.
        ranked: whether its scores enter a ranking; never across protocols.
        has_validation: whether a part is set aside for choosing; else the last epoch is taken
            and thresholds come from the training images.
        held_out: whether the scored images are whole and were not trained on.
        sets: the real sets that it is defined for; None for all.
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
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"There is no protocol {name!r}; known are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def make_split(
    stored: StoredSet, dataset: DataSet | None = None, protocol: str = "v1", split: int = 0
) -> Split:
    """Part a set.

    Every protocol starts from `numpy.random.default_rng(split).permutation(sorted ids)`; of a set
    that has its own test part, only the others are permuted; of one that states no sizes, its
    groups. `smoke` takes the head of that order, so it never shows a test image of v1.

    Args:
        stored: the set on disk, real or simulated.
        dataset: the real set whose sizes hold; the one that it is or stands for by default.
        protocol: a name in `PROTOCOLS`.
        split: 0 to 4.

    Raises:
        UserError: unknown protocol or split, a protocol of another set, or a set that isn't
            whole.
    """
    rules = find_protocol(protocol)
    if split not in SPLITS:
        raise UserError(f"There is no split {split}; they are {SPLITS.start} to {SPLITS.stop - 1}.")
    if dataset is None:
        dataset = DATASETS.build({"type": stored.stands_for})
    if rules.sets is not None and dataset.name not in rules.sets:
        raise UserError(
            f"Protocol {protocol} is for {', '.join(rules.sets)}, not for {stored.name}; "
            "use --protocol v1."
        )
    return _MAKERS[protocol](stored, dataset, np.random.default_rng(split))


def _v1(stored: StoredSet, dataset: DataSet, rng: np.random.Generator) -> Split:
    pool, own_test = _pool(stored, dataset, "v1")
    if dataset.parts is None:
        train, val, test = _by_shares(stored, pool, rng, own_test=bool(own_test))
        return Split(train, val, own_test or test)
    order = _permuted(pool, rng)
    first, second, third = dataset.parts
    return Split(
        train=order[:first],
        val=order[first : first + second],
        test=own_test if third is None else order[first + second : first + second + third],
    )


def _by_shares(
    stored: StoredSet, pool: list[str], rng: np.random.Generator, *, own_test: bool
) -> tuple[list[str], list[str], list[str]]:
    """Train, validation and test of a set that states no sizes: 60, 20 and 20 % of its images.

    Images of one group are in one part; the cuts are where the shares are met best. Of a set with
    a test part of its own, three quarters and one quarter of the rest.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for image_id in pool:
        group = stored.group(image_id)
        groups.setdefault((group is None, group or image_id), []).append(image_id)
    needed = 2 if own_test else 3
    if len(groups) < needed:
        what = "image" if len(groups) == len(pool) else "group of images"
        raise UserError(
            f"{stored.name} has {len(groups)} {what}{'' if len(groups) == 1 else 's'} to part and "
            f"{needed} are needed; import more."
        )
    keys = sorted(groups)
    order = [groups[keys[i]] for i in rng.permutation(len(keys))]
    ends = np.cumsum([len(images) for images in order])
    cuts = [0]
    for share in (0.75,) if own_test else (0.6, 0.8):
        last = len(order) - needed + len(cuts) + 1  # one group at least is left for each part
        among = np.arange(cuts[-1] + 1, last)
        cuts.append(int(among[np.abs(ends[among - 1] - share * len(pool)).argmin()]))
    cuts += [len(order)] * (4 - len(cuts))
    first, second, third = (
        [image_id for images in order[a:b] for image_id in images] for a, b in pairwise(cuts)
    )
    return first, second, third


def _literature(stored: StoredSet, dataset: DataSet, rng: np.random.Generator) -> Split:
    if dataset.parts is None:
        parts = _v1(stored, dataset, rng)
        return Split(train=parts.train, val=[], test=parts.val + parts.test)
    pool, own_test = _pool(stored, dataset, "literature")
    order = _permuted(pool, rng)
    train = dataset.parts[0]
    return Split(train=order[:train], val=[], test=order[train:] + own_test)


def _released(stored: StoredSet, dataset: DataSet, rng: np.random.Generator) -> Split:
    train = _v1(stored, dataset, rng).train
    return Split(train=train, val=list(train), test=list(train))


def _smoke(stored: StoredSet, dataset: DataSet, rng: np.random.Generator) -> Split:
    if dataset.parts is None:
        parts = _v1(stored, dataset, rng)
        order = parts.train + parts.val
    else:
        order = _permuted(_parts(stored, dataset)[0], rng)
    if len(order) < sum(_SMOKE):
        raise UserError(
            f"{stored.name} has {len(order)} images to choose from and protocol smoke needs "
            f"{sum(_SMOKE)}; import the whole set."
        )
    train, val, test = _SMOKE
    return Split(
        train=order[:train],
        val=order[train : train + val],
        test=order[train + val : train + val + test],
    )


def _by_donor(stored: StoredSet, dataset: DataSet, rng: np.random.Generator) -> Split:
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


_MAKERS: dict[str, Callable[[StoredSet, DataSet, np.random.Generator], Split]] = {
    "v1": _v1,
    "mbm-donor": _by_donor,
    "literature": _literature,
    "smoke": _smoke,
    "released": _released,
}


def _permuted(names: list[str], rng: np.random.Generator) -> list[str]:
    # The positions are permuted: the draw is that of the list, and str stays str.
    return [names[i] for i in rng.permutation(len(names))]


def _parts(stored: StoredSet, dataset: DataSet) -> tuple[list[str], list[str]]:
    """Sorted ids to part, and those of the set's own test part, empty where it has none."""
    if dataset.parts is None:
        in_parts = any(stored.part(image_id) == "test" for image_id in stored.ids)
    else:
        in_parts = dataset.parts[2] is None
    if not in_parts:
        return stored.ids, []
    unknown = [i for i in stored.ids if stored.part(i) not in ("train", "test")]
    if unknown:
        raise UserError(
            f"{stored.name} is distributed in parts, but {unknown[0]} is in none; "
            "import it from folders trainval/ and test/."
        )
    pool = [i for i in stored.ids if stored.part(i) == "train"]
    return pool, [i for i in stored.ids if stored.part(i) == "test"]


def _pool(stored: StoredSet, dataset: DataSet, protocol: str) -> tuple[list[str], list[str]]:
    """As `_parts`, for protocols that are defined on the whole set alone."""
    pool, own_test = _parts(stored, dataset)
    if dataset.parts is None:
        return pool, own_test
    train, val, test = dataset.parts
    wanted = train + val + (test or 0)
    if len(pool) != wanted or len(stored) != dataset.images:
        raise UserError(
            f"{stored.name} has {len(stored)} images on disk and protocol {protocol} parts the "
            f"{dataset.images} of {dataset.title} as distributed; import the whole set, or use "
            "--protocol smoke."
        )
    return pool, own_test
