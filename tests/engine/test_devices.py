"""Claims about devices, precisions and processes; GPUs are played."""

import os
import platform
import socket
import subprocess
import sys
import time
from datetime import timedelta

import pytest
import torch

from cellbench.engine.devices import (
    ALONE,
    Processes,
    _say_why_no_gpu,
    agree,
    autocast,
    choose_device,
    choose_precision,
    join_processes,
    keep_freed_memory,
    leave_processes,
    wait_for_main,
)
from cellbench.errors import UserError


def test_auto_precision_is_bfloat16_only_where_the_processor_computes_it():
    cpu = torch.device("cpu")
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert choose_precision("auto", cpu) == ("bfloat16" if supported else "float32")
    assert choose_precision("float32", cpu) == "float32"
    assert choose_precision("bfloat16", cpu) == "bfloat16"


def test_autocast_on_a_cpu_computes_in_the_precision_that_was_chosen():
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with autocast(torch.device("cpu"), "bfloat16"):
        assert layer(x).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "float32"):
        assert layer(x).dtype == torch.float32


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu?", "meta", "hpu"])
def test_a_device_that_is_not_there_is_one_sentence(name):
    with pytest.raises(UserError, match="--device"):
        choose_device(name)


@pytest.fixture
def two_gpus(monkeypatch):
    """As a machine with two GPUs answers; the numbers of those that were made the current one."""
    chosen, ones = [], torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape))
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return chosen


@pytest.mark.parametrize(
    ("name", "rank", "number"),
    [("auto", None, 0), ("cuda", None, 0), ("cuda", "1", 1), ("auto", "1", 1), ("cuda:1", "0", 1)],
)
def test_a_gpu_that_is_chosen_is_the_current_one(two_gpus, monkeypatch, name, rank, number):
    # streams, events and captures are of the current one, and would not see the work of another
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device(name) == torch.device("cuda", number)
    assert two_gpus == [number]
    assert choose_device("cpu") == torch.device("cpu")
    assert two_gpus == [number]


def test_a_gpu_that_cannot_be_had_is_one_sentence(two_gpus, monkeypatch):
    with pytest.raises(UserError, match="--device cuda:2 is not there: torch sees 2 GPUs"):
        choose_device("cuda:2")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="give --nproc-per-node 2"):
        choose_device("auto")

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="cuda:1 is one GPU for all processes of torchrun"):
        choose_device("cuda:1")
    monkeypatch.delenv("LOCAL_WORLD_SIZE")

    def busy(number):
        raise RuntimeError("CUDA error: devices are busy or unavailable\nFor debugging consider")

    monkeypatch.setattr(torch.cuda, "set_device", busy)
    with pytest.raises(UserError, match=r"GPU 1 cannot be used \(.* unavailable\); take another"):
        choose_device("cuda:1")


def test_a_gpu_that_torch_has_no_kernels_for_is_one_sentence(two_gpus, monkeypatch):
    # one older than what this torch was built for: it is seen, and fails at the first kernel
    def too_old(*shape, device):
        raise RuntimeError(
            "CUDA error: no kernel image is available for execution on the device\n"
            "CUDA kernel errors might be asynchronously reported"
        )

    monkeypatch.setattr(torch, "ones", too_old)
    with pytest.raises(UserError, match=r"GPU 0 cannot be used \(.*no kernel image .* device\);"):
        choose_device("auto")


def test_a_gpu_that_torch_cannot_take_is_not_passed_over_silently(monkeypatch, tmp_path, caplog):
    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found 11040). Please")

    tool = tmp_path / "nvidia-smi"
    tool.write_text("")
    tool.chmod(0o755)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    _say_why_no_gpu.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_device("auto") == torch.device("cpu")
    assert not caplog.records
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_device("auto") == torch.device("cpu")
    (record,) = caplog.records
    assert "is too old (found 11040)); the CPU is used." in record.getMessage()
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as the user wants it
    _say_why_no_gpu.cache_clear()
    assert choose_device("auto") == torch.device("cpu")
    assert len(caplog.records) == 1


def test_the_processes_of_torchrun_are_bound_to_their_gpus(two_gpus, monkeypatch):
    joined = []
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda *given, **named: joined.append((given, named)),
    )
    for name in ("auto", "cpu"):
        assert join_processes(choose_device(name)) == Processes(3, 4)
    (first, nccl), (second, gloo) = joined
    assert (first, second) == (("nccl",), ("gloo",))
    assert nccl["device_id"] == torch.device("cuda", 1)
    assert gloo["device_id"] is None
    # longer than the longest validation, which the first process does alone
    assert min(nccl["timeout"], gloo["timeout"]) >= timedelta(hours=12)


MAPPED = """
import sys
import torch
from cellbench.engine.devices import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory(torch.device("cpu"))

def fresh_pages():
    before = int(open("/proc/self/stat").read().rpartition(")")[2].split()[7])
    torch.zeros(16 * 2**20)  # 64 MiB, over every threshold of glibc
    return int(open("/proc/self/stat").read().rpartition(")")[2].split()[7]) - before

for _ in range(10):  # the heap grows to what it needs
    fresh_pages()
print(sum(fresh_pages() for _ in range(5)))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what it changes is glibc's")
def test_freed_memory_is_taken_again():
    def pages(side):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        command = [sys.executable, "-c", MAPPED, side]
        return int(subprocess.check_output(command, env=environment))

    assert pages("kept") < 0.1 * pages("given back")


def test_freed_memory_is_as_the_user_has_set_it(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert not keep_freed_memory(torch.device("cpu"))
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    assert not keep_freed_memory(torch.device("cuda"))


@pytest.fixture
def group(tmp_path):
    """A process group of one."""
    store = torch.distributed.FileStore(str(tmp_path / "group"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_a_process_that_torchrun_did_not_start_stands_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes(torch.device("cpu")) == ALONE == Processes(0, 1)
    assert not torch.distributed.is_initialized()
    assert agree(7, torch.device("cpu")) == 7
    leave_processes()  # there is nothing to leave


def test_a_group_is_joined_once_and_left(group, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert join_processes(torch.device("cpu")) == Processes(0, 2)
    leave_processes()
    assert not torch.distributed.is_initialized()


def test_a_process_that_fails_does_not_wait_for_the_others_to_leave_the_group(group):
    # as NCCL would: the others may be in a step, which this process will not make
    leave_processes(RuntimeError, RuntimeError(), None)
    assert torch.distributed.is_initialized()
    leave_processes(None, None, None)
    assert not torch.distributed.is_initialized()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a second process is forked")
def test_two_processes_wait_for_each_other_and_agree(monkeypatch, tmp_path):
    cpu = torch.device("cpu")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    child = os.fork()
    if child == 0:  # leaves by the exit alone, whatever happens
        done = False
        try:
            os.environ["RANK"] = "1"
            done = join_processes(cpu) == Processes(1, 2)
            wait_for_main()
            # what the first process wrote before it came here is there, and its number holds
            done = done and (tmp_path / "there").exists() and agree(7, cpu) == 5
        finally:
            os._exit(0 if done else 1)
    monkeypatch.setenv("RANK", "0")
    try:
        assert join_processes(cpu) == Processes(0, 2)
        time.sleep(0.3)
        (tmp_path / "there").touch()
        wait_for_main()
        assert agree(5, cpu) == 5
    finally:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        leave_processes()
    assert code == 0


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_computes_in_bfloat16_where_it_does_not_emulate_it(monkeypatch, native, chosen):
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or native,
    )
    assert choose_precision("auto", torch.device("cuda", 0)) == chosen


def test_float32_on_a_gpu_is_float32_for_all_who_compute_in_it(monkeypatch):
    # a run, a verification and a count of pictures: they choose the precision, and nothing else
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    choose_precision("float32", torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32
    choose_precision("float32", torch.device("cuda", 0))
    assert not torch.backends.cudnn.allow_tf32
    choose_precision("bfloat16", torch.device("cuda", 0))
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("there", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_cpu_computes_in_bfloat16_where_onednn_is_there_to_do_it(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert choose_precision("auto", torch.device("cpu")) == chosen
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_other_devices_compute_in_float32():
    assert choose_precision("auto", torch.device("mps")) == "float32"
    assert choose_precision("auto", torch.device("meta")) == "float32"
