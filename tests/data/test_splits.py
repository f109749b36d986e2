from pathlib import Path

import numpy as np
import pytest

from cellbench.data.manifests import Entry, Manifest
from cellbench.data.splits import PROTOCOLS, SPLITS, make_split
from cellbench.data.stored_set import StoredSet
from cellbench.errors import UserError
from cellbench.registry import DATASETS

DONORS = {f"{d:04d}": n for d, n in zip((1, 2, 3, 4, 6, 7, 8, 20), [8] * 3 + [4] * 5, strict=True)}


def entry(name, part=None, group=None):
    return Entry(name, ".png", (9, 9), 0, "0" * 64, "0" * 64, part=part, group=group)


def stored(name, *, keep=None):
    """A set of the size of the real one, without files."""
    if name == "mbm":
        entries = [entry(f"{d}-{i}", group=d) for d, n in DONORS.items() for i in range(n)]
    elif name == "dcc":
        entries = [entry(f"train-{i}", "train") for i in range(100)]
        entries += [entry(f"test-{i}", "test") for i in range(77)]
    else:
        entries = [entry(f"{i}") for i in range(200)]
    return StoredSet(Path("nowhere"), Manifest(name, tuple(entries[:keep])))


def parted(name, protocol, split=0):
    return make_split(stored(name), DATASETS.build({"type": name}), protocol, split)


SIZES = [("adi", 50, 50, 100), ("mbm", 15, 15, 14), ("vgg", 64, 36, 100), ("dcc", 70, 30, 77)]


@pytest.mark.parametrize(("name", "train", "val", "test"), SIZES)
@pytest.mark.parametrize("split", SPLITS)
def test_v1_has_its_sizes_and_uses_every_image_once(name, train, val, test, split):
    parts = parted(name, "v1", split)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (train, val, test)
    assert sorted(parts.train + parts.val + parts.test) == stored(name).ids


@pytest.mark.parametrize("split", SPLITS)
def test_v1_is_numpys_permutation_of_the_sorted_ids_cut_in_order(split):
    parts = parted("vgg", "v1", split)
    order = np.random.default_rng(split).permutation(sorted(stored("vgg").ids)).tolist()
    assert (parts.train, parts.val, parts.test) == (order[:64], order[64:100], order[100:])
    assert all(type(name) is str for name in parts.train)


def test_dcc_keeps_its_own_test_part():
    for split in SPLITS:
        parts = parted("dcc", "v1", split)
        assert all(name.startswith("test-") for name in parts.test)
        assert all(name.startswith("train-") for name in parts.train + parts.val)
    assert parted("dcc", "v1", 0).train != parted("dcc", "v1", 1).train


@pytest.mark.parametrize("split", SPLITS)
def test_no_donor_is_in_two_parts_of_mbm_donor(split):
    parts = parted("mbm", "mbm-donor", split)
    donors = [{name[:4] for name in part} for part in (parts.train, parts.val, parts.test)]
    assert [len(part) for part in donors] == [3, 2, 3]
    assert len(set.union(*donors)) == 8
    assert sorted(parts.train + parts.val + parts.test) == stored("mbm").ids
    order = np.random.default_rng(split).permutation(sorted(DONORS)).tolist()
    assert donors[0] == set(order[:3])


@pytest.mark.parametrize(("name", "train", "_", "__"), SIZES)
def test_literature_has_v1s_train_images_and_no_validation(name, train, _, __):
    parts = parted(name, "literature", 3)
    assert parts.train == parted(name, "v1", 3).train
    assert parts.val == []
    assert sorted(parts.train + parts.test) == stored(name).ids


@pytest.mark.parametrize(("name", "_", "__", "___"), SIZES)
@pytest.mark.parametrize("split", SPLITS)
def test_smoke_never_shows_a_test_image_of_v1(name, split, _, __, ___):
    smoke, real = parted(name, "smoke", split), parted(name, "v1", split)
    assert [len(part) for part in (smoke.train, smoke.val, smoke.test)] == [4, 2, 2]
    used = smoke.train + smoke.val + smoke.test
    assert len(set(used)) == 8
    assert not set(used) & set(real.test)


def test_released_scores_its_training_images_and_is_never_ranked():
    parts = parted("adi", "released")
    assert parts.train == parts.val == parts.test == parted("adi", "v1").train
    assert not PROTOCOLS["released"].ranked
    assert not PROTOCOLS["released"].held_out
    assert not PROTOCOLS["smoke"].ranked


def test_a_simulated_set_is_parted_as_what_it_stands_for():
    drawn = stored("adi")
    drawn = StoredSet(drawn.folder, Manifest("adi-sim", drawn.manifest.entries, stands_for="adi"))
    assert make_split(drawn) == parted("adi", "v1")


@pytest.mark.parametrize("protocol", ["v1", "literature", "released"])
@pytest.mark.parametrize(("name", "keep"), [("adi", 199), ("dcc", 150), ("mbm", 12)])
def test_a_set_that_is_not_whole_is_refused(name, keep, protocol):
    with pytest.raises(UserError, match=f"{name} has {keep} images on disk.*smoke"):
        make_split(stored(name, keep=keep), protocol=protocol)
    make_split(stored(name, keep=keep), protocol="smoke")


def test_what_cannot_be_parted_is_one_sentence():
    with pytest.raises(UserError, match="known are v1, mbm-donor"):
        parted("adi", "v2")
    with pytest.raises(UserError, match="0 to 4"):
        parted("adi", "v1", 5)
    with pytest.raises(UserError, match="mbm-donor is for mbm"):
        parted("adi", "mbm-donor")
    with pytest.raises(UserError, match="needs 8"):
        make_split(stored("adi", keep=7), protocol="smoke")
    with pytest.raises(UserError, match="parts 8"):
        make_split(stored("mbm", keep=20), protocol="mbm-donor")


class Unstated:
    """A set that states no sizes of parts."""

    name = title = "ours"
    parts = images = None
    by_group = False
    folds_below = 0


def own(entries):
    return StoredSet(Path("nowhere"), Manifest("ours", tuple(entries)))


@pytest.mark.parametrize(("images", "sizes"), [(20, [12, 4, 4]), (10, [6, 2, 2]), (3, [1, 1, 1])])
@pytest.mark.parametrize("split", SPLITS)
def test_a_set_without_sizes_is_parted_in_60_20_and_20_percent(images, sizes, split):
    stored = own(entry(f"{i:02}") for i in range(images))
    parts = make_split(stored, Unstated, "v1", split)
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == sizes
    assert sorted(parts.train + parts.val + parts.test) == stored.ids
    order = np.random.default_rng(split).permutation(stored.ids).tolist()
    assert parts.train + parts.val + parts.test == order
    literature = make_split(stored, Unstated, "literature", split)
    assert (literature.train, literature.val) == (parts.train, [])
    assert sorted(literature.test) == sorted(parts.val + parts.test)


@pytest.mark.parametrize("split", SPLITS)
def test_no_group_of_a_set_without_sizes_is_in_two_parts(split):
    sizes = {"a": 30, "b": 3, "c": 4, "d": 2, "e": 1}
    stored = own(entry(f"{g}{i}", group=g) for g, n in sizes.items() for i in range(n))
    parts = make_split(stored, Unstated, "v1", split)
    groups = [{name[0] for name in part} for part in (parts.train, parts.val, parts.test)]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(sizes)


def test_a_set_without_sizes_keeps_its_own_test_part():
    stored = own(
        [entry(f"t{i}", "test") for i in range(5)] + [entry(f"l{i}", "train") for i in range(8)]
    )
    parts = make_split(stored, Unstated, "v1", 1)
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [6, 2, 5]
    assert all(name.startswith("t") for name in parts.test)


def test_smoke_shows_no_test_image_of_a_set_without_sizes():
    stored = own(entry(f"{i:02}") for i in range(20))
    for split in SPLITS:
        smoke, v1 = (make_split(stored, Unstated, name, split) for name in ("smoke", "v1"))
        assert not set(smoke.train + smoke.val + smoke.test) & set(v1.test)


def test_too_few_images_or_groups_are_one_sentence():
    with pytest.raises(UserError, match="ours has 2 images to part and 3 are needed"):
        make_split(own([entry("a"), entry("b")]), Unstated)
    with pytest.raises(UserError, match="ours has 1 group of images to part and 3 are needed"):
        make_split(own(entry(f"{i}", group="g") for i in range(9)), Unstated)
    with pytest.raises(UserError, match="ours has 2 groups of images to part and 3 are needed"):
        make_split(own(entry(f"{i}", group=f"g{i % 2}") for i in range(9)), Unstated)
    with pytest.raises(UserError, match="protocol smoke needs 8"):
        make_split(own(entry(f"{i}") for i in range(9)), Unstated, "smoke")
