"""Claims about the parts of sets that are cross-validated."""

from pathlib import Path

import pytest

from cellbench.data.manifests import Entry, Manifest, OwnFacts
from cellbench.data.own_sets.own_dataset import own_dataset
from cellbench.data.splits import EVERYTHING, FOLDS, HALF, PROTOCOLS, SPLITS, make_split
from cellbench.data.stored_set import StoredSet


def own_set(groups):
    entries = tuple(
        Entry(f"{n:03d}", ".png", (9, 9), 1, "a" * 64, "b" * 64, group=group)
        for n, group in enumerate(groups)
    )
    return StoredSet(Path("nowhere"), Manifest("mine", entries, own=OwnFacts(("text",))))


def parted(stored, protocol, split):
    return make_split(stored, own_dataset(stored.manifest), protocol, split)


@pytest.mark.parametrize("groups", [[None] * 16, [f"g{n % 7}" for n in range(20)]])
@pytest.mark.parametrize("protocol", ["v1", FOLDS, HALF])
def test_under_forty_images_each_is_tested_once_and_no_group_is_divided(protocol, groups):
    stored = own_set(groups)
    tested = []
    for split in SPLITS:
        parts = parted(stored, protocol, split)
        tested += parts.test
        units = [
            {stored.group(i) or i for i in part} for part in (parts.train, parts.val, parts.test)
        ]
        assert not (units[0] & units[1] | units[0] & units[2] | units[1] & units[2])
    assert sorted(tested) == stored.ids


def test_folds_train_on_all_that_is_not_tested_and_half_on_half_of_it():
    stored = own_set([None] * 15)
    for split in SPLITS:
        whole, half, v1 = (parted(stored, name, split) for name in (FOLDS, HALF, "v1"))
        assert sorted(whole.train) == sorted(v1.train + v1.val)
        assert whole.val == half.val == []
        assert whole.test == half.test == v1.test
        assert set(half.train) < set(whole.train)
        assert len(half.train) == len(whole.train) / 2


def test_folds_are_of_nearly_one_size():
    sizes = [len(parted(own_set([None] * 16), FOLDS, split).test) for split in SPLITS]
    assert sorted(sizes) == [3, 3, 3, 3, 4]


def test_from_forty_images_on_sixty_twenty_and_twenty_percent_are_taken():
    parts = parted(own_set([None] * 50), "v1", 0)
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [30, 10, 10]


def test_everything_holds_nothing_out_and_is_never_ranked():
    stored = own_set([None] * 8)
    assert parted(stored, EVERYTHING, 0).train == stored.ids
    assert not PROTOCOLS[EVERYTHING].held_out
    assert not any(PROTOCOLS[name].ranked for name in (FOLDS, HALF, EVERYTHING))
