import torch

from cellbench.config.compose import resolve
from cellbench.engine import assembly
from cellbench.engine.devices import Processes
from cellbench.engine.record import (
    environment,
    gflops,
    parameter_count,
    peak_memory_mb,
    plugins_of,
)
from cellbench.engine.request import Request, find_run
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


def test_of_a_gpu_the_memory_counts_that_other_runs_cannot_have(monkeypatch):
    # a captured graph keeps what its tensors used
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 900 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 400 * 2**20)
    assert peak_memory_mb(torch.device("cuda", 0)) == 900


def test_the_peak_of_a_run_on_a_gpu_is_not_that_of_one_before(monkeypatch, simulated_home):
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    forgotten, gpu = [], torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forgotten.append)
    monkeypatch.setattr(assembly, "choose_device", lambda wanted: gpu)
    request = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", device="cuda:1")
    prepared = assembly.prepare(find_run(request, print))
    assert (prepared.device, forgotten) == (gpu, [gpu])
