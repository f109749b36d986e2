"""Claims about counters that are fed their own training targets, on simulated images of VGG."""

import pytest
from fed_targets import METHODS, NOTHING_TO_FEED, SHORTFALLS, Shortfall, build_empty, read_targets

from cellbench_plugins.simulators.vgg import VggSimulator

RADIUS_PX = 4.0


@pytest.fixture(scope="module")
def pictures():
    drawn = [VggSimulator().draw(index) for index in range(3)]
    return [(image.pixels, image.points) for image in drawn]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NOTHING_TO_FEED])
def test_perfect_answers_are_counted_and_located(method, pictures):
    """What is exempted must need it, so that the list grows shorter with what is mended."""
    read = read_targets(*build_empty(method), pictures, RADIUS_PX)
    allowed, usual = SHORTFALLS.get(method, Shortfall("")), Shortfall("")
    f1 = 1.0 if read.f1 is None else read.f1  # of a method without points there is none to ask
    assert abs(read.excess) <= allowed.count
    assert f1 >= allowed.f1
    needs = abs(read.excess) > usual.count or f1 < usual.f1
    assert needs == (method in SHORTFALLS), "the list of exemptions does not fit"


def test_the_lists_name_methods_and_give_reasons():
    assert {*NOTHING_TO_FEED, *SHORTFALLS} <= set(METHODS)
    assert all([*NOTHING_TO_FEED.values(), *(each.why for each in SHORTFALLS.values())])
