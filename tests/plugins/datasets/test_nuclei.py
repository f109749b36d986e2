"""The shipped set: whole, parted by field, and the same as a raw copy of it."""

import csv
import shutil

import numpy as np
import pytest

from cellbench.data.importing import import_set
from cellbench.data.resolve import resolve_set
from cellbench.data.set_damage import verify_set
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.errors import UserError


@pytest.fixture
def raw(tmp_path):
    """The layout in which the set is distributed, with the first six fields."""
    stored = open_set("nuclei")
    entries = [entry for entry in stored.manifest.entries if int(entry.group) < 6]
    folder = tmp_path / "dsb"
    for name in ("images", "points"):
        (folder / name).mkdir(parents=True)
    with (folder / "groups.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image_id", "field", "cells"))
        for entry in entries:
            key = entry.id.partition("_")[2]
            shutil.copy(stored.folder / entry.image, folder / "images" / f"{key}.png")
            shutil.copy(stored.folder / entry.points, folder / "points" / f"{key}.txt")
            table.writerow((key, int(entry.group), entry.count))
    return folder


def test_it_is_there_without_data_or_network(home):
    assert is_on_disk("nuclei")
    said = []
    stored = resolve_set("nuclei", strict=True, say=said.append)
    counts = np.array([entry.count for entry in stored.manifest.entries])
    assert len(stored) == 334
    assert (round(counts.mean(), 1), round(counts.std(), 1)) == (28.6, 21.3)
    assert len({entry.group for entry in stored.manifest.entries}) == 140
    assert said == []


def test_every_shipped_file_is_as_its_manifest_has_it(home):
    stored = open_set("nuclei")
    assert verify_set(stored) == []
    assert all(np.isfinite(stored.sample(i).points).all() for i in stored.ids)


@pytest.mark.parametrize("protocol", ["v1", "literature"])
def test_no_field_is_in_two_parts(home, protocol):
    stored = open_set("nuclei")
    for split in SPLITS:
        parts = make_split(stored, protocol=protocol, split=split)
        images = [parts.train, parts.val, parts.test]
        fields = [{stored.group(i) for i in part} for part in images]
        assert sum(map(len, images)) == 334
        assert sum(map(len, fields)) == len(set.union(*fields)) == 140
    assert len(fields[0]) == 70


def test_fields_are_permuted_and_cut_in_order(home):
    stored = open_set("nuclei")
    fields = sorted({entry.group for entry in stored.manifest.entries})
    order = [fields[i] for i in np.random.default_rng(3).permutation(140)]
    parts = make_split(stored, split=3)
    assert {stored.group(i) for i in parts.train} == set(order[:70])
    assert {stored.group(i) for i in parts.val} == set(order[70:98])
    assert {stored.group(i) for i in parts.test} == set(order[98:])


def test_smoke_shows_no_test_image(home):
    stored = open_set("nuclei")
    smoke, whole = make_split(stored, protocol="smoke"), make_split(stored)
    assert smoke.test
    assert not {*smoke.train, *smoke.val, *smoke.test} & set(whole.test)


def test_a_raw_copy_gives_the_same_images_points_and_fields(home, raw):
    shipped = {entry.id: entry for entry in open_set("nuclei").manifest.entries}
    imported = import_set("nuclei", raw, force=True).stored
    assert 6 <= len(imported) < 334
    assert all(entry == shipped[entry.id] for entry in imported.manifest.entries)
    # The user's own copy comes first.
    assert open_set("nuclei").folder == home / "data" / "nuclei"


def test_an_image_without_a_field_is_refused(home, raw):
    lines = (raw / "groups.csv").read_text().splitlines()
    (raw / "groups.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(UserError, match="has no field of"):
        import_set("nuclei", raw, force=True)
