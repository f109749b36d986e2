import numpy as np

from cellbench.data.contracts import Picture
from cellbench.data.training_set import TrainingSet
from cellbench.engine.released import ReleasedProtocolCrops
from cellbench.structures import CellSample


class Images:
    """Two images of 40x30 px; cells on a lattice."""

    ids = ("a", "b")
    points = np.array([[4.5, 4.5], [20.5, 10.5], [35.5, 25.5]], dtype=np.float32)

    def sample(self, image_id):
        return CellSample(image_id, self.points, (40, 30))

    def pixels(self, image_id):
        return np.zeros((30, 40, 3), dtype=np.uint8)


class LeftHalf:
    """A crop of the left 24 columns, seen at twice their size."""

    def __call__(self, picture, rng):
        kept = picture.points[picture.points[:, 0] < 24]
        pixels = np.repeat(np.repeat(picture.pixels[:, :24], 2, axis=0), 2, axis=1)
        return Picture(pixels, kept * 2, 2.0)


def test_each_training_image_gives_one_crop_with_its_cells_in_original_px():
    train = TrainingSet(
        Images(), ["a", "b"], transforms=[LeftHalf()], seed=0, split=0, crops_per_image=3,
        batch_size=3, input_scale=2.0,
    )  # fmt: skip
    batches = list(ReleasedProtocolCrops(train))
    samples = [sample for _, batch in batches for sample in batch]
    assert [sample.image_id for sample in samples] == ["a", "b"]
    for sample in samples:
        np.testing.assert_allclose(sample.points, [[4.5, 4.5], [20.5, 10.5]])
        assert sample.size == (24, 30)
    assert all("points" not in data for data, _ in batches)


def test_looking_twice_sees_the_same_crops():
    train = TrainingSet(
        Images(), ["a", "b"], transforms=[], seed=0, split=0, crops_per_image=1, batch_size=1
    )
    looks = [[data["image_ids"] for data, _ in ReleasedProtocolCrops(train)] for _ in range(2)]
    assert looks[0] == looks[1] == [["a"], ["b"]]
