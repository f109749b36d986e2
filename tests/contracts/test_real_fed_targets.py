"""The same on real images of VGG; collected where the real sets are."""

import pytest
from fed_targets import METHODS, NOTHING_TO_FEED, SHORTFALLS, Shortfall, build_empty, read_targets

from cellbench.data.splits import make_split
from cellbench.data.stored_set import open_set


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NOTHING_TO_FEED])
def test_perfect_answers_are_counted_and_located_on_vgg(method):
    stored = open_set("vgg")
    ids = make_split(stored, protocol="v1", split=0).train[:6]
    pictures = [(stored.pixels(image_id), stored.sample(image_id).points) for image_id in ids]
    read = read_targets(*build_empty(method), pictures, 4.0)
    allowed = SHORTFALLS.get(method, Shortfall(""))
    assert abs(read.excess) <= allowed.count
    assert read.f1 is None or read.f1 >= allowed.f1
