"""Claims about scores that are pooled over images."""

from cellbench.metrics.localisation import Detection, pool


def test_nothing_pooled_is_all_zeros():
    assert pool([]) == Detection(tp=0, fp=0, fn=0)


def test_pooling_adds_up_each_number():
    images = [Detection(tp=3, fp=1, fn=0), Detection(tp=4, fp=0, fn=2)]
    assert pool(images) == Detection(tp=7, fp=1, fn=2)
