import os
import platform
import subprocess
import weakref

import pytest
import torch

from cellbench.config.compose import resolve
from cellbench.engine import assembly, record
from cellbench.engine.devices import Processes
from cellbench.engine.record import (
    device_name,
    environment,
    gflops,
    git_commit,
    parameter_count,
    peak_memory_mb,
    plugins_of,
)
from cellbench.engine.request import Request, resolve_run
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


def test_a_run_is_not_lost_for_flops_that_a_gpu_has_no_memory_to_count(monkeypatch):
    def full(images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    network = OneConvolution()
    monkeypatch.setattr(network, "infer", full)
    data = {"arrays": [torch.zeros(64, 96, 3).numpy()], "scale": 1.0, "image_ids": ["a"]}
    assert gflops(network, data) is None
    assert network.training


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


def test_the_environment_states_how_batch_norms_were_computed_and_by_how_many_processes():
    cpu = torch.device("cpu")
    facts = [environment(cpu, "float32", Processes(0, n), fold=n == 1) for n in (1, 3)]
    assert [found["batch_norms"] for found in facts] == ["folded", "separate"]
    assert [found["processes"] for found in facts] == [1, 3]


def test_a_cpu_is_named_by_what_torch_computes_with_and_a_gpu_by_its_product(monkeypatch):
    found = device_name(torch.device("cpu"))
    assert found == f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(torch.device("cuda", 1)) == "GPU 1"


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the memory of the machine is not known")
def test_the_memory_of_a_process_is_that_of_torch_at_least_and_the_machines_at_most():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert 50 < peak_memory_mb(torch.device("cpu")) < machine


@pytest.mark.parametrize(("changed", "commit"), [("", "ab12"), (" M run.py", "ab12+")])
def test_the_commit_says_whether_the_checkout_was_changed(monkeypatch, changed, commit):
    answers = {"ls-files": "__init__.py", "rev-parse": "ab12", "status": changed}
    monkeypatch.setattr(record, "_git", lambda folder, name, *rest: answers[name])
    assert git_commit() == commit

    def none(*given):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(record, "_git", none)
    assert git_commit() is None


def test_of_a_gpu_the_memory_counts_that_other_runs_cannot_have(monkeypatch):
    # a captured graph keeps what its tensors used
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 900 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 400 * 2**20)
    assert peak_memory_mb(torch.device("cuda", 0)) == 900


def test_the_peak_of_a_run_on_a_gpu_is_not_that_of_one_before(monkeypatch, simulated_home):
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    forgotten, gpu = [], torch.device("cuda", 1)
    before = torch.nn.Linear(1, 1)
    before.circle = before  # as the frames of a run are that PyTorch keeps
    lives = weakref.ref(before)
    del before
    # memory that a run has left for the next one is reserved, and would be of its peak
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: forgotten.append(lives() or "left"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forgotten.append)
    monkeypatch.setattr(assembly, "choose_device", lambda wanted: gpu)
    request = Request("configs/dla_adi.py", dataset="adi-sim", protocol="smoke", device="cuda:1")
    prepared = assembly.prepare(resolve_run(request, print))
    assert (prepared.device, forgotten) == (gpu, ["left", gpu])
