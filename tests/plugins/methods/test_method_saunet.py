"""SAU-Net: its attention, its size, and batch-norm from whole images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from written_out import convolved, leaves, normalised, unsettled

from cellbench.config.compose import merge
from cellbench.config.sources import find_config, load_file
from cellbench.data.training_set import TrainingSet
from cellbench.data.whole_images import WholeImages
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench.structures import CellSample
from cellbench_plugins.methods._pyramids import SelfAttention
from cellbench_plugins.methods.saunet import SAUNetDecoder, SAUNetEncoder


def made(**changes):
    model = load_file(find_config("methods/saunet.py"))["model"]
    return build_counter(merge(model, changes))


def test_it_has_as_many_parameters_as_its_layers():
    def block(inputs, outputs):
        return 9 * (inputs + outputs) * outputs + 2 * outputs + 4 * outputs

    def up(inputs, outputs):
        return 4 * inputs * outputs + outputs + 2 * outputs

    encoder = block(3, 32) + block(32, 64) + block(64, 128) + block(128, 256)
    decoder = sum(up(2 * c, c) + block(2 * c, c) for c in (128, 64, 32))
    # query and value with bias, key and the last one without; a bias of keys moves no softmax
    attention = 4 * 256 * 256 + 2 * 256 + 2 * 256
    counter = made()
    found = sum(p.numel() for p in counter.parameters())
    assert found == encoder + decoder + attention + 32 + 1


def test_each_convolution_is_followed_by_a_relu_and_then_by_batch_norm():
    torch.manual_seed(0)
    encoder = unsettled(SAUNetEncoder(channels=(4, 8)))
    decoder = unsettled(SAUNetDecoder(encoder.shapes, conv=None))
    pixels = torch.rand(1, 3, 16, 24)

    def level(x, *layers):
        for conv, norm in zip(layers[::2], layers[1::2], strict=True):
            x = normalised(F.relu(convolved(x, conv)), norm)
        return x

    finer = level(pixels, *leaves(encoder.levels[0]))
    coarser = level(F.max_pool2d(finer, 2), *leaves(encoder.levels[1]))
    grow, norm = leaves(decoder.ups[0])
    raised = F.conv_transpose2d(decoder.attention(coarser), grow.weight, grow.bias, stride=2)
    joined = torch.cat([finer, normalised(F.relu(raised), norm)], dim=1)
    expected = level(joined, *leaves(decoder.levels[0]))
    torch.testing.assert_close(decoder(encoder(pixels)), expected)


def test_attention_is_the_softmax_of_unscaled_products_over_all_places():
    torch.manual_seed(0)
    attention = SelfAttention(16).eval()
    for projection in (attention.query, attention.key):
        nn.init.normal_(projection.weight, std=0.3)
    features = torch.randn(2, 16, 5, 7)
    query, key, value = (
        projection(features).flatten(2)
        for projection in (attention.query, attention.key, attention.value)
    )
    weights = torch.einsum("bcq,bck->bqk", query, key).softmax(dim=2)
    attended = torch.einsum("bqk,bck->bcq", weights, value).reshape_as(features)
    expected = features + attention.norm(torch.relu(attention.out(attended)))
    torch.testing.assert_close(attention(features), expected, rtol=1e-4, atol=1e-5)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation gave."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_the_matrix_of_all_pairs_of_a_large_image_is_never_held():
    attention = SelfAttention(32).eval()
    with torch.inference_mode(), Largest() as largest:
        attention(torch.randn(1, 32, 40, 40))
    assert largest.numel < 1600**2 / 20


def test_without_attention_it_is_a_unet():
    plain = made(decoder={"attention": False})
    assert not any(isinstance(m, SelfAttention) for m in plain.modules())


class Pictures:
    """Four random images in memory."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.arrays = {str(i): rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) for i in range(4)}
        self.ids = sorted(self.arrays)

    def sample(self, image_id):
        return CellSample(image_id, np.zeros((0, 2), dtype=np.float32), (32, 32))

    def pixels(self, image_id):
        return self.arrays[image_id]


def training_set():
    return TrainingSet(
        Pictures(), "0123", transforms=(), seed=0, split=0, crops_per_image=1, batch_size=2
    )


def batch_norms(counter):
    return [module for module in counter.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_extension_gives_batch_norm_the_moments_of_all_training_images_in_one_batch():
    small = {"channels": [4, 8]}
    counter, other = made(backbone=small).eval(), made(backbone=small).train()
    other.load_state_dict(counter.state_dict())
    other.decoder.attention.eval()  # its dropout is off where statistics are taken
    train = training_set()
    counter.refresh_statistics(WholeImages(train.stored, train.ids))
    for norm in batch_norms(other):
        norm.train()
        norm.momentum = 1.0
    arrays = [train.stored.pixels(i) for i in train.ids]
    with torch.no_grad():
        other.estimate(other.data_preprocessor.images(arrays, scale=1.0, image_ids=train.ids))
    for found, expected in zip(batch_norms(counter), batch_norms(other), strict=True):
        assert not found.training
        assert found.momentum == 0.1
        torch.testing.assert_close(found.running_mean, expected.running_mean, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=0.05, atol=1e-5)


@pytest.mark.parametrize("wanted", [True, False])
def test_statistics_are_taken_anew_before_images_are_counted_and_only_if_wanted(wanted):
    counter = made(whole_image_statistics=wanted, backbone={"channels": [4, 8]})
    train = training_set()
    assert counter.fit(train, None) is False
    data = train.batch(0)
    images = counter.data_preprocessor.images(data["arrays"], scale=1.0, image_ids=["0", "1"])
    counter.train().loss(Batch(images, [torch.zeros(0, 2)] * 2))
    counter.eval()
    before = [norm.running_mean.clone() for norm in batch_norms(counter)]
    counter.begin_inference()
    first = counter.infer(images)
    after = [norm.running_mean.clone() for norm in batch_norms(counter)]
    same = all(a.equal(b) for a, b in zip(before, after, strict=True))
    assert same is not wanted
    second = counter.infer(images)
    assert [p.count for p in first] == [p.count for p in second]
    assert all(
        norm.running_mean.equal(a) for norm, a in zip(batch_norms(counter), after, strict=True)
    )
