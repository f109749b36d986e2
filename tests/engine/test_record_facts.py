import torch

from cellbench.config.compose import resolve
from cellbench.engine.devices import Processes
from cellbench.engine.record import environment, gflops, parameter_count, plugins_of
from cellbench.models.build import build_counter
from cellbench.models.preprocess import Preprocessor


def test_every_part_of_a_config_is_named_with_its_origin():
    plugins = plugins_of(resolve("configs/dla_adi.py").plain())
    names = {(part["role"], part["name"]) for part in plugins}
    assert names >= {
        ("counter", "PointCounter"),
        ("backbone", "VGG16"),
        ("decoder", "GFD"),
        ("conv", "MDGC"),
        ("head", "PointHead"),
        ("matcher", "KHM"),
        ("loss", "PointLoss"),
        ("transform", "RandomCrop"),
    }
    assert {part["distribution"] for part in plugins} == {"cellbench"}
    assert all(part["version"] for part in plugins)


def test_the_parts_that_prepare_images_are_named():
    plugins = plugins_of(resolve("configs/methods/dla.py", dataset="mbm").plain())
    assert ("transform", "StainNormalisation") in {(p["role"], p["name"]) for p in plugins}


class OneConvolution(torch.nn.Module):
    """8 filters of 3x3 over RGB, and a bias each."""

    def __init__(self):
        super().__init__()
        self.data_preprocessor = Preprocessor(size_multiple=32, channels_last=False)
        self.layer = torch.nn.Conv2d(3, 8, 3, padding=1)

    def infer(self, images):
        return self.layer(images.pixels)


def test_gflops_are_two_a_multiply_add_of_one_image():
    data = {
        "arrays": [torch.zeros(64, 96, 3).numpy()] * 2,
        "scale": 1.0,
        "image_ids": ["a", "b"],
    }
    network = OneConvolution()
    assert gflops(network, data) == round(2 * 64 * 96 * 3 * 8 * 9 / 1e9, 3)
    assert network.training, "the mode it was in is kept"


def test_the_baseline_has_the_parameters_that_its_layers_add_up_to():
    counter = build_counter(
        resolve("configs/methods/p2pnet.py", dataset="adi").model, load_weights=False
    )
    vgg16_bn = 14_723_136  # torchvision's vgg16_bn without its classifier
    trunk = sum(p.numel() for p in counter.backbone.parameters())
    assert trunk == vgg16_bn
    assert parameter_count(counter) == sum(p.numel() for p in counter.parameters()) > vgg16_bn


def test_the_environment_says_where_but_holds_only_plain_values():
    facts = environment(torch.device("cpu"), "float32", Processes(), fold=True)
    assert facts["device"] == "cpu"
    assert facts["precision"] == "float32"
    assert facts["threads"] == torch.get_num_threads()
    assert all(type(value) in (str, int, type(None)) for value in facts.values())
