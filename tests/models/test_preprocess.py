"""Claims about what images are before a network sees them."""

import numpy as np
import pytest
import torch
from torchvision.models import VGG16_Weights

from cellbench.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessor, to_device

RNG = np.random.default_rng(0)


def picture(height, width):
    return RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_images_are_normalised_as_the_weights_of_torchvision_ask_for():
    asked = VGG16_Weights.IMAGENET1K_V1.transforms()
    assert list(IMAGENET_MEAN) == asked.mean
    assert list(IMAGENET_STD) == asked.std


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("multiple", [1, 4, 32])
def test_images_of_several_sizes_are_padded_with_the_mean_colour(multiple, channels_last):
    arrays = [picture(5, 9), picture(8, 6)]
    made = Preprocessor(size_multiple=multiple, channels_last=channels_last)
    images = made.images(arrays, scale=0.5, image_ids=["a", "b"])
    height, width = (-(-edge // multiple) * multiple for edge in (8, 9))
    assert images.pixels.shape == (2, 3, height, width)
    expected = torch.zeros(2, 3, height, width)
    for row, array in enumerate(arrays):
        values = (array / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        expected[row, :, : array.shape[0], : array.shape[1]] = torch.tensor(values).permute(2, 0, 1)
    torch.testing.assert_close(images.pixels, expected, rtol=1e-5, atol=1e-6)
    assert images.sizes.tolist() == [[9, 5], [6, 8]]
    assert (images.scale, images.image_ids, len(images)) == (0.5, ["a", "b"], 2)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert images.pixels.is_contiguous(memory_format=layout)


def test_bytes_and_the_same_values_from_0_to_1_are_one_image():
    array = picture(4, 4)
    made = Preprocessor(size_multiple=1, channels_last=True)
    found = [
        made.images([kind], scale=1.0, image_ids=["a"]).pixels
        for kind in (array, (array / 255).astype(np.float32))
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_bytes_that_are_normalised_on_the_device_are_the_same_image():
    arrays = [picture(5, 9), picture(8, 6)]
    made = Preprocessor(size_multiple=4, channels_last=True)
    on_device = made._stacked_on_device(arrays, (8, 12))
    torch.testing.assert_close(on_device, made._stacked_on_host(arrays, (8, 12)))


def test_annotated_images_are_a_batch_and_others_are_images():
    made = Preprocessor(size_multiple=1, channels_last=False)
    data = {"arrays": [picture(4, 4)] * 3, "scale": 1.0, "image_ids": ["a", "b", "c"]}
    assert made(data).keys() == {"images"}
    assert made(data, training=True).keys() == {"images"}, "the data decide"
    points = [np.array([[1.5, 2.5], [0.5, 3.5]]), [], np.array([[3.0, 1.0]], np.float32)]
    batch = made(data | {"points": points})["batch"]
    assert [found.tolist() for found in batch.points] == [
        [[1.5, 2.5], [0.5, 3.5]], [], [[3.0, 1.0]],
    ]  # fmt: skip
    assert all(found.dtype == torch.float32 for found in batch.points)
    for host, found in zip(batch.host_points, batch.points, strict=True):
        np.testing.assert_array_equal(host, found.numpy())


def test_a_tensor_stays_on_the_cpu_and_goes_elsewhere():
    tensor = torch.ones(2)
    assert torch.equal(to_device(tensor, torch.device("cpu")), tensor)
    assert to_device(tensor, torch.device("meta")).device.type == "meta"
