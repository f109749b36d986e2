"""Triton's Gaussian kernels, on a CPU through Triton's interpreter, and when they are not used."""

import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from cellbench_plugins._ops import gaussian_choice, gaussian_tiles
from cellbench_plugins._ops.gaussian import MIN_SIGMA
from cellbench_plugins._ops.gaussian_choice import pixel_kernels, works

pytest.importorskip("triton", reason="no Triton for this platform")

# Maps cut at odd places, fewer pixels than a program has and more, one to three blocks of channels,
# borders everywhere; kernels that are one tap, and nearly flat ones.
AGAINST_FLOAT64 = f"""
import torch
from cellbench_plugins._ops import gaussian_tiles, gaussian_triton

def differences(shape, radii, dtype, unit, sigmas):
    draw = torch.Generator().manual_seed(0)
    count = len(radii)
    rows = torch.randn(shape, generator=draw).to(dtype)
    grad = torch.randn((*shape[:3], count * shape[3]), generator=draw).to(dtype)
    low, high = sigmas
    sigma = low + (high - low) * torch.rand((*shape[:3], 2 * count), generator=draw)
    offset = 4 * torch.rand((*shape[:3], 2 * count), generator=draw) - 2
    parameters = torch.cat([sigma, offset], dim=-1)
    out, factors = gaussian_triton.forward(rows, parameters, radii, unit)
    found = out, *gaussian_triton.backward(grad, rows, parameters, factors, radii, unit)
    assert found[0].dtype == found[1].dtype == dtype
    rows, grad, parameters = rows.double(), grad.double(), parameters.double()
    out, factors = gaussian_tiles.forward(rows, parameters, radii, unit)
    wanted = out, *gaussian_tiles.backward(grad, rows, parameters, factors, radii, unit)
    assert all(f.isfinite().all() for f in found)
    return [float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted)]

cases = [
    ((1, 3, 5, 3), (1, 2), torch.float32, True, (1, 10)),
    ((2, 2, 5, 3), (1, 2), torch.float32, False, (1, 10)),
    ((1, 1, 3, 70), (1,), torch.bfloat16, True, (1, 10)),
    ((2, 2, 2, 130), (1,), torch.float16, False, (0.5, 3)),
    ((1, 2, 2, 3), (0, 2), torch.float32, True, ({MIN_SIGMA}, {MIN_SIGMA})),
]
for case in cases:
    most = {{torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 0.01}}[case[2]]
    found = differences(*case)
    if case[-1][0] == {MIN_SIGMA}:
        found = found[:2]  # one tap: the gradient of its deviation is rounding
    assert max(found) < most, (case, found)

from cellbench_plugins._ops.gaussian_choice import works
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    assert works(torch.device("cpu"), dtype, 3, (1,), True)
print("agrees")
"""


@pytest.mark.slow
def test_the_kernels_agree_with_float64_in_value_and_gradient():
    interpreted = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", AGAINST_FLOAT64],
        env=interpreted,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "agrees\n", done.stderr


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from cellbench_plugins._ops import gaussian_triton

MAPS, INTEGERS = ("x", "out", "grad", "grad_x"), ("pixels", "height", "width")
OPTIONS = {"CHANNELS": 64, "SCALES": 4, "RADII": 0x04030201, "BLOCK": 16, "BLOCK_C": 64}
for unit in (True, False):
    for name in ("_forward", "_backward_map", "_backward_parameters"):
        kernel = getattr(gaussian_triton, name)
        signature = {
            a: "constexpr" if a.isupper() else "i32" if a in INTEGERS
            else "*bf16" if a in MAPS else "*fp32"
            for a in kernel.arg_names
        }
        source = ASTSource(kernel, signature, constexprs={**OPTIONS, "UNIT": unit})
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert made.asm["cubin"]
print("compiled")
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "compiled\n", done.stderr


def test_where_triton_does_not_run_one_sentence_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="cellbench"):
        # a CPU without the interpreter: as where there is no compiler, the launch fails
        assert not works(torch.device("cpu"), torch.float32, 3, (1,), True)
    (record,) = caplog.records
    assert "without Triton in this process" in record.getMessage()
    assert "\n" not in record.getMessage()


class Wrong:
    """Kernels that answer, and wrongly."""

    def supports(self, dtype, radii):
        return True

    def forward(self, rows, parameters, radii, unit):
        out, factors = gaussian_tiles.forward(rows, parameters, radii, unit)
        return 1.1 * out, factors

    backward = staticmethod(gaussian_tiles.backward)


def test_kernels_with_wrong_results_are_not_used(caplog, monkeypatch):
    monkeypatch.setattr("cellbench_plugins._ops.gaussian_triton", Wrong(), raising=False)
    monkeypatch.setitem(sys.modules, "cellbench_plugins._ops.gaussian_triton", Wrong())
    assert not works(torch.device("cpu"), torch.float32, 3, (1,), True)
    assert "differ from PyTorch's by 0.1" in caplog.text


def test_a_cpu_never_asks_for_triton(monkeypatch):
    monkeypatch.setattr(gaussian_choice, "works", None)
    assert pixel_kernels(torch.zeros(1, 2, 2, 3), (1,), True) is gaussian_tiles


@pytest.fixture
def chosen(monkeypatch):
    """Which kernels a map on a GPU gets; Triton's work there but for float16."""
    answers = {torch.float64: None, torch.float16: False}
    monkeypatch.setattr(gaussian_choice, "works", lambda _, dtype, *more: answers.get(dtype, True))
    monkeypatch.setattr(gaussian_choice, "_tried", {})
    monkeypatch.setattr(gaussian_choice, "Tensor", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)

    def kernels(dtype, channels):
        shape = (1, 2, 2, channels)
        rows = SimpleNamespace(
            is_cuda=True, numel=lambda: 12, device="cuda:0", dtype=dtype, shape=shape
        )
        return pixel_kernels(rows, (1,), True)

    return kernels


def test_a_map_that_triton_does_not_take_leaves_it_to_others_and_a_failure_does_not(chosen):
    from cellbench_plugins._ops import gaussian_triton

    assert chosen(torch.float64, 3) is gaussian_tiles
    assert chosen(torch.float32, 3) is gaussian_triton
    assert chosen(torch.float16, 3) is gaussian_tiles
    assert chosen(torch.float32, 4) is gaussian_tiles
    assert chosen(torch.float32, 3) is gaussian_triton  # as it was tried


def test_flops_are_counted_of_the_same_operators_on_every_device(chosen):
    from torch.utils.flop_counter import FlopCounterMode

    from cellbench_plugins._ops import gaussian_triton

    with FlopCounterMode(display=False):
        assert chosen(torch.float32, 3) is gaussian_tiles
    assert chosen(torch.float32, 3) is gaussian_triton
