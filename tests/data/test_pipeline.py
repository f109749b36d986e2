import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest

from cellbench.data.contracts import Picture, Transform
from cellbench.data.pipeline import PixelCache, PreparedImages, prefetch
from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages, at_scale
from cellbench.errors import UserError
from cellbench.structures import CellSample


class InMemory:
    """A data set of noise, that counts how often it decodes."""

    def __init__(self, sizes, cells=5):
        rng = np.random.default_rng(0)
        self.ids = [f"image-{index:02d}" for index in range(len(sizes))]
        self.decoded, self.read = [], []
        self._pixels, self._samples = {}, {}
        for image_id, (width, height) in zip(self.ids, sizes, strict=True):
            self._pixels[image_id] = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            points = np.floor(rng.random((cells, 2)) * (width, height)) + 0.5
            self._samples[image_id] = CellSample(
                image_id, points.astype(np.float32), (width, height)
            )

    def sample(self, image_id):
        self.read.append(image_id)
        return self._samples[image_id]

    def pixels(self, image_id):
        self.decoded.append(image_id)
        return self._pixels[image_id]


class Window(Transform):
    """Cuts 16 x 16 px somewhere; knows nothing of the plugins."""

    def __call__(self, picture: Picture, rng):
        left, top = (int(rng.integers(edge - 15)) for edge in picture.size)
        points = picture.points - np.array([left, top], dtype=np.float32)
        inside = ((points >= 0) & (points < 16)).all(axis=1)
        pixels = picture.pixels[top : top + 16, left : left + 16]
        return replace(picture, pixels=pixels, points=points[inside])


def training_set(stored=None, **options):
    stored = stored or InMemory([(40, 30)] * 5)
    options = {"seed": 1, "split": 0, "crops_per_image": 3, "batch_size": 4, **options}
    return TrainingSet(stored, stored.ids, transforms=[Window()], **options)


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert one["image_ids"] == two["image_ids"]
    assert one["scale"] == two["scale"]
    for key in ("arrays", "points"):
        assert len(one[key]) == len(two[key])
        for left, right in zip(one[key], two[key], strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_batch_depends_on_its_step_alone():
    whole = list(training_set().batches(0, 9))
    resumed = list(training_set().batches(5, 9))
    assert len(resumed) == 4
    for one, two in zip(whole[5:], resumed, strict=True):
        assert_same(one, two)
    assert_same(training_set().batch(7), whole[7])


def test_seed_and_split_change_the_stream():
    streams = [training_set(seed=seed, split=split) for seed, split in ((1, 0), (2, 0), (1, 1))]
    orders = {tuple(i for epoch in range(3) for i in train.order(epoch)) for train in streams}
    assert len(orders) == 3


def test_an_epoch_is_one_pass_over_all_images_in_a_fresh_order():
    train = training_set(batch_size=15)
    assert train.steps_per_epoch == 1
    first, second = (train.batch(step)["image_ids"] for step in (0, 1))
    for image_ids in (first, second):
        assert image_ids[::3] == image_ids[1::3] == image_ids[2::3]  # three in a row from each
        assert sorted(image_ids[::3]) == sorted(train.ids)
    assert first != second


def test_batches_are_full_and_go_on_over_the_end_of_an_epoch():
    train = training_set()
    assert train.steps_per_epoch == 4
    batches = [train.batch(step) for step in range(15)]
    assert all(len(batch["arrays"]) == 4 for batch in batches)
    stream = [image_id for batch in batches for image_id in batch["image_ids"]]
    assert stream == [i for epoch in range(4) for i in train.order(epoch) for _ in range(3)]


def test_a_batch_may_be_larger_than_an_epoch():
    train = training_set(InMemory([(40, 30)]), crops_per_image=1, batch_size=5)
    batch = train.batch(0)
    assert len(batch["arrays"]) == 5
    assert len({array.tobytes() for array in batch["arrays"]}) > 1  # each epoch draws anew


def test_crops_of_one_image_differ():
    batch = training_set(batch_size=3).batch(0)
    assert len(set(batch["image_ids"])) == 1
    assert len({array.tobytes() for array in batch["arrays"]}) > 1


def test_what_a_batch_holds():
    batch = training_set(input_scale=2).batch(0)
    assert set(batch) == {"arrays", "points", "scale", "image_ids"}
    assert batch["scale"] == 2.0
    assert all(array.shape == (16, 16, 3) for array in batch["arrays"])
    assert all(array.flags.c_contiguous and array.flags.owndata for array in batch["arrays"])
    assert all(p.dtype == np.float32 and p.ndim == 2 for p in batch["points"])


def test_changing_a_batch_never_changes_the_images():
    stored = InMemory([(16, 16)])
    before = stored.pixels(stored.ids[0]).copy()
    train = training_set(stored)
    for array in train.batch(0)["arrays"]:
        array[:] = 0
    np.testing.assert_array_equal(stored.pixels(stored.ids[0]), before)
    with pytest.raises(ValueError, match="read-only"):
        train._pixels(stored.ids[0])[:] = 0


def test_processes_share_a_batch_without_gap_or_overlap():
    whole = training_set().batch(3)
    shares = [training_set().batch(3, rank=rank, world=2) for rank in range(2)]
    for position in range(4):
        share = shares[position % 2]
        assert share["image_ids"][position // 2] == whole["image_ids"][position]
        np.testing.assert_array_equal(share["arrays"][position // 2], whole["arrays"][position])
    assert sum(len(share["arrays"]) for share in shares) == 4


def test_an_uneven_share_is_refused():
    with pytest.raises(UserError, match="batch of 4 crops cannot be shared evenly by 3"):
        training_set().batches(0, 1, rank=0, world=3)


def test_worker_processes_give_the_same_batches_and_leave_torch_chance_alone():
    import torch

    before = torch.get_rng_state()
    by_workers = list(training_set().batches(2, 5, workers=1))
    assert torch.equal(before, torch.get_rng_state())
    for one, two in zip(by_workers, training_set().batches(2, 5), strict=True):
        assert_same(one, two)


def test_every_image_is_decoded_and_every_annotation_read_once():
    stored = InMemory([(40, 30)] * 5)
    list(training_set(stored).batches(0, 12))
    assert sorted(stored.decoded) == stored.ids
    assert sorted(stored.read) == stored.ids


def test_above_the_memory_budget_images_are_decoded_again_with_the_same_result():
    small, large = InMemory([(40, 30)] * 5), InMemory([(40, 30)] * 5)
    tight = list(training_set(small, cache_bytes=2 * 40 * 30 * 3).batches(0, 12))
    for one, two in zip(tight, training_set(large).batches(0, 12), strict=True):
        assert_same(one, two)
    assert len(small.decoded) > 5


def test_a_cache_travels_empty():
    cache = PixelCache(np.zeros, 100)
    cache(3)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.budget_bytes == 100
    assert not copy._kept


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"crops_per_image": 0}])
def test_numbers_below_one_are_refused(options):
    with pytest.raises(UserError, match=r"is 0; .* at least 1"):
        training_set(**options)


@pytest.mark.parametrize("loader", [TrainingSet, WholeImages])
@pytest.mark.parametrize(("ids", "words"), [([], "has no image"), (["ghost"], "'ghost'")])
def test_a_part_without_images_or_with_strangers_is_refused(loader, ids, words):
    options = {}
    if loader is TrainingSet:
        options = {"transforms": [], "seed": 0, "split": 0, "crops_per_image": 1, "batch_size": 1}
    with pytest.raises(UserError, match=words):
        loader(InMemory([(8, 8)]), ids, **options)


def test_prefetch_keeps_the_order_and_raises_where_the_error_belongs():
    def double(item):
        if item == 3:
            raise UserError("no three")
        return 2 * item

    results = prefetch(double, range(6))
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(UserError, match="no three"):
        next(results)


def test_the_next_is_computed_while_one_is_used():
    begun = {name: threading.Event() for name in "abc"}

    def upper(name):
        begun[name].set()
        return name.upper()

    found = []
    for result in prefetch(upper, "abc", ahead=1):
        following = {"A": "b", "B": "c"}.get(result)
        assert following is None or begun[following].wait(5)
        found.append(result)
    assert found == ["A", "B", "C"]


def test_prefetch_stops_its_thread_when_it_is_left():
    before = threading.active_count()
    results = prefetch(abs, iter(int, 1))  # without end
    next(results)
    assert threading.active_count() == before + 1
    results.close()
    assert threading.active_count() == before


def test_whole_images_come_once_each_without_telling_their_counts():
    stored = InMemory([(40, 30), (20, 20), (40, 30), (40, 30), (33, 31)])
    whole = WholeImages(stored, stored.ids, batch_pixels=2 * 40 * 30)
    assert len(whole) == 5
    seen = []
    for data, samples in whole:
        assert set(data) == {"arrays", "scale", "image_ids"}
        assert [sample.image_id for sample in samples] == data["image_ids"]
        assert len({array.shape for array in data["arrays"]}) == 1
        assert len(samples) == 1 or sum(a.shape[0] * a.shape[1] for a in data["arrays"]) <= 2400
        for array, sample in zip(data["arrays"], samples, strict=True):
            np.testing.assert_array_equal(array, stored.pixels(sample.image_id))
            assert sample is stored.sample(sample.image_id)
        seen += data["image_ids"]
    assert sorted(seen) == stored.ids


def test_an_image_above_the_pixel_budget_comes_alone():
    stored = InMemory([(40, 30)] * 2)
    assert [len(s) for _, s in WholeImages(stored, stored.ids, batch_pixels=1)] == [1, 1]


def test_whole_images_are_read_and_resized_once():
    stored = InMemory([(40, 30)] * 3)
    whole = WholeImages(stored, stored.ids, input_scale=0.5)
    first, second = ([array for data, _ in whole for array in data["arrays"]] for _ in range(2))
    assert sorted(stored.decoded) == sorted(stored.read) == stored.ids
    assert all(one is two for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize("scale", [0.37, 0.5, 1.0, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("size", [(41, 33), (30, 57)])
def test_a_bright_spot_in_a_resized_image_maps_back_to_where_it_was(scale, size):
    width, height = size
    for x, y in ((12, 12), (width - 10, height - 10)):
        pixels = np.zeros((height, width, 3), dtype=np.float32)
        pixels[y - 4 : y + 5, x - 4 : x + 5] = 1.0
        resized = at_scale(pixels, scale)[:, :, 0]
        rows, columns = np.indices(resized.shape) + 0.5
        found = (resized * columns).sum() / resized.sum(), (resized * rows).sum() / resized.sum()
        assert np.array(found) / scale == pytest.approx([x + 0.5, y + 0.5], abs=0.05)


def test_no_annotated_pixel_is_cut_off_by_odd_sizes():
    for width in range(20, 60):
        for scale in (0.37, 0.5, 0.9, 1.7):
            pixels = np.zeros((5, width, 3), dtype=np.uint8)
            resized = at_scale(pixels, scale)
            assert (width - 0.5) * scale < resized.shape[1] < width * scale + 1


class Recoloured(Transform):
    """Inverts, and on wish does what a preparation must not."""

    def __init__(self, wrong=None):
        self.wrong = wrong

    def __call__(self, picture, rng):
        pixels = 255 - picture.pixels
        if self.wrong == "size":
            pixels = pixels[1:]
        if self.wrong == "values":
            pixels = pixels.astype(np.float32)
        return Picture(pixels, picture.points)


class OneImage:
    ids = ("a",)

    def sample(self, image_id):
        return CellSample(image_id, np.array([[1.5, 2.5]], dtype=np.float32), (6, 5))

    def pixels(self, image_id):
        return np.full((5, 6, 3), 200, dtype=np.uint8)


def test_training_and_scoring_see_the_same_prepared_image():
    prepared = PreparedImages(OneImage(), [Recoloured()])
    train = TrainingSet(
        prepared, ["a"], transforms=[], seed=0, split=0, crops_per_image=1, batch_size=1
    )
    (data, (sample,)) = next(iter(WholeImages(prepared, ["a"])))
    np.testing.assert_array_equal(data["arrays"][0], train.batch(0)["arrays"][0])
    assert (data["arrays"][0] == 55).all()
    np.testing.assert_array_equal(sample.points, [[1.5, 2.5]])


@pytest.mark.parametrize("wrong", ["size", "values"])
def test_a_preparation_that_changes_more_than_colours_is_refused(wrong):
    with pytest.raises(UserError, match=r"data\.prepare: Recoloured"):
        PreparedImages(OneImage(), [Recoloured(wrong)]).pixels("a")
