"""Claims about pictures that are there twice: copies are found however they are changed."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cellbench.data.duplicates import find_duplicates
from cellbench.data.set_writer import NewItem, write_set
from cellbench.data.splits import SPLITS, make_split
from cellbench.data.stored_set import open_set

pytestmark = pytest.mark.usefixtures("home")


def jpeg(pixels, quality):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resized(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize((size, size)))


def noisy(pixels):
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


CHANGES = {
    "equal": lambda p: p,
    "jpeg": lambda p: jpeg(p, 10),
    "half the size": lambda p: resized(p, 128),
    "noise": noisy,
    "brighter": lambda p: (p.astype(np.float32) * 1.4 + 20).clip(0, 255).astype(np.uint8),
    "turned": lambda p: np.rot90(p),
    "mirrored": lambda p: p[:, ::-1],
    "transposed": lambda p: p.transpose(1, 0, 2),
    "one channel lost": lambda p: p * np.array([1, 1, 0], dtype=np.uint8),
}


def items(stored, ids):
    for image_id in ids:
        sample, pixels = stored.sample(image_id), stored.pixels(image_id)
        yield NewItem(image_id, pixels, sample.size, sample.points, group=stored.group(image_id))


@pytest.fixture
def nuclei():
    return open_set("nuclei")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(nuclei, change):
    ids = nuclei.ids[:40]
    copied = nuclei.pixels(ids[7])
    changed = np.ascontiguousarray(CHANGES[change](copied))
    height, width = changed.shape[:2]
    copy = NewItem("copy", changed, (width, height), np.zeros((0, 2), np.float32))
    stored = write_set("toy", [*items(nuclei, ids), copy], source="test")
    (twin,) = find_duplicates([stored])
    assert {twin.first[1], twin.second[1]} == {"copy", ids[7]}
    assert twin.correlation <= 1 + 1e-5


def test_no_picture_of_the_shipped_set_is_there_twice(nuclei):
    assert find_duplicates([nuclei]) == []


def test_a_copy_of_a_training_image_in_the_test_part_names_the_splits(nuclei):
    parts = make_split(nuclei)
    source, target = parts.train[0], parts.test[0]

    def swapped():
        for item in items(nuclei, nuclei.ids):
            if item.image_id == target:
                item = replace(item, picture=nuclei.pixels(source))
            yield item

    leaky = write_set("nuclei", swapped(), source="test", force=True)
    (twin,) = find_duplicates([leaky])
    assert {twin.first[1], twin.second[1]} == {source, target}
    expected = []
    for split in SPLITS:
        test = make_split(leaky, split=split).test
        if (source in test) != (target in test):
            expected.append(split)
    assert 0 in twin.splits
    assert list(twin.splits) == expected


def test_a_picture_in_two_sets_is_found(nuclei):
    other = write_set("toy", items(nuclei, nuclei.ids[3:4]), source="test")
    (twin,) = find_duplicates([other, nuclei])
    assert (twin.first, twin.second) == (("toy", nuclei.ids[3]), ("nuclei", nuclei.ids[3]))
    assert twin.splits == ()


def test_flat_pictures_are_no_twins_and_no_sets_have_none():
    grounds = [
        NewItem(f"flat{i}", np.full((50, 60, 3), 40 * i, np.uint8), (60, 50),
                np.zeros((0, 2), np.float32))
        for i in range(3)
    ]  # fmt: skip
    assert find_duplicates([write_set("toy", grounds, source="test")]) == []
    assert find_duplicates([]) == []
