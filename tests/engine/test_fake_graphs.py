"""Captured steps against eager ones, on a CPU that records and replays as CUDA graphs do."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch
from fake_graphs import FakeCuda, on_fake_gpu
from safetensors.torch import load_file
from spoiled_networks import Between, broken, counting, reading

from cellbench.config.compose import resolve
from cellbench.engine import training
from cellbench.engine.average import WeightAverage
from cellbench.engine.devices import ALONE
from cellbench.engine.evaluation import infer
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.engine.stages import enter_stage, learning_parameters
from cellbench.engine.training import TrainingStep
from cellbench.engine.work_progress import Display
from cellbench.models.build import build_counter
from cellbench.models.counter import Stage
from cellbench.structures import CellSample

CPU = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch):
    return FakeCuda(monkeypatch)


def crops(number=2, side=32, cells=9, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "arrays": [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(number)],
        "points": [side * rng.random((cells, 2), dtype=np.float32) for _ in range(number)],
        "scale": 1.0,
        "image_ids": [str(index) for index in range(number)],
    }


def started(method, *, captured, precision="float32"):
    torch.manual_seed(0)
    config = resolve(f"methods/{method}", dataset="adi")
    counter = build_counter(config.model, load_weights=False).train()
    said = []
    update = TrainingStep(
        counter, config.optimizer, device=CPU, precision=precision, processes=ALONE, log=said.append
    )
    if captured:
        on_fake_gpu(update)
    return counter, update, said


def validate(counter):
    data = {key: value for key, value in crops(1, 96, seed=9).items() if key != "points"}
    sample = CellSample("0", np.zeros((0, 2), np.float32), (96, 96))
    found, _ = infer(counter, [(data, [sample])], precision="float32")
    return found[0].count


def story(method, *, captured, precision="float32"):
    """All that happens to weights between steps; what was counted and the weights at the end."""
    counter, update, said = started(method, captured=captured, precision=precision)
    average = WeightAverage(counter, 0.9)
    numbers = itertools.count()

    def steps(count, **changed):
        for _ in range(count):
            number = next(numbers)
            update.set_rate(0.1 / (1 + number))
            update(crops(seed=number, **changed), seed=number)
            average.update()

    steps(2)
    with average.swapped_in():
        counted = [validate(counter)]
    steps(1)
    steps(1, number=1)  # a batch that no capture fits
    steps(1)
    average.hand_over()  # as at the end of a stage
    steps(1)
    kept = {name: value.clone() for name, value in counter.state_dict().items()}
    steps(1)
    counter.load_state_dict(kept)  # as a resumption does
    steps(1)
    counted.append(validate(counter))
    return counted, counter.state_dict(), said


@pytest.mark.parametrize(
    "method",
    [
        "dla",
        "unet",
        "saunet",  # draws: half of the pairs are left out
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("p2pnet", "dla_paper", "pgcnet", "countception", "sasnet", "dmcount")
        ),
    ],
)
def test_whatever_happens_between_steps_captured_ones_do_as_eager_ones(cuda, method):
    expected = story(method, captured=False)
    found = story(method, captured=True)
    assert "captured CUDA graphs" in found[2][0]
    assert [graph.replays for graph in cuda.graphs] == [8, 8]  # one of them to compare
    assert found[0] == pytest.approx(expected[0], rel=1e-3, abs=1e-3)
    # Adam divides by the size of a gradient: where that is rounding, a step may go either way.
    torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=3e-5)


def test_another_stage_is_captured_anew(cuda):
    after = []
    for captured in (False, True):
        counter, update, said = started("p2pnet", captured=captured)
        learning = learning_parameters(counter)
        update(crops(), seed=0)
        for number, part in enumerate(("head.", "")):
            enter_stage(Stage("s", trained=(part,)), learning)
            update.forget_capture()
            for seed in range(2):
                update(crops(seed=seed), seed=10 * number + seed)
        after.append(counter.state_dict())
        assert len(said) == 3 * captured
    torch.testing.assert_close(*after, rtol=1e-3, atol=3e-5)


SMALL = (
    "model.backbone.strides=[2, 4]", "model.backbone.weights=None", "data.batch_size=2",
    "model.backbone.frozen_stages=0", "data.input_scale=0.5", "data.augment.0.size=64",
    "schedule.validations=2", "schedule.precision=float32",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_of_captured_steps_that_is_resumed_is_the_eager_one(
    cuda, simulated_home, tmp_path, monkeypatch
):
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")

    def do(store, display=None):
        asked = Request(
            "configs/dla_adi.py", dataset="adi-sim", protocol="smoke", epochs=6, device="cpu",
            store=str(tmp_path / store), overrides=SMALL,
        )  # fmt: skip
        return run(asked, display)

    def stop_once(done, loss, mae):
        if done == 7:
            os.kill(os.getpid(), signal.SIGINT)

    eager = do("eager")
    make = TrainingStep.__init__

    def captured(step, *arguments, **options):
        make(step, *arguments, **options)
        on_fake_gpu(step)

    monkeypatch.setattr(training.TrainingStep, "__init__", captured)
    with pytest.raises(KeyboardInterrupt):
        do("captured", Display(step=stop_once))
    resumed = do("captured")
    assert "steps are captured" in (resumed.folder / "log.txt").read_text()
    found, expected = (load_file(o.folder / "best.safetensors") for o in (resumed, eager))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    counts = [[image["prediction"] for image in o.record["images"]] for o in (resumed, eager)]
    assert counts[0] == pytest.approx(counts[1], abs=1)


def eager_all_the_same(cuda, first, do):
    """A step of a network that cannot be captured; the sentence that says so."""
    counter, update, said = started("unet", captured=True)
    counter.readout = Between(counter.readout, first, do)
    before = {name: value.clone() for name, value in counter.state_dict().items()}
    loss = update(crops(), seed=0)
    assert update.captured is None
    assert torch.isfinite(loss)
    assert any(not torch.equal(v, before[n]) for n, v in counter.state_dict().items())
    (sentence,) = said
    assert sentence.startswith("steps are eager: ")
    return sentence


# in the warm-up, or as if nothing there had told
@pytest.mark.parametrize(("first", "why"), [(0, "called a synchronizing"), (3, "not permitted")])
def test_a_network_that_reads_numbers_is_trained_eagerly(cuda, first, why):
    assert why in eager_all_the_same(cuda, first, reading)
    # PyTorch is told of a capture that began and failed, and one more ends well
    assert len(cuda.undone) == (first > 0)
    assert [len(graph.records) > 0 for graph in cuda.graphs] == [True, False, True] * (first > 0)


def test_the_first_error_of_a_capture_is_the_one_that_is_told(cuda):
    cuda.failing = RuntimeError("operation failed due to a previous error")
    assert "due to a previous error" in eager_all_the_same(cuda, 99, reading)
    assert len(cuda.undone) == 1


def test_a_network_that_counts_its_passes_is_trained_eagerly(cuda):
    assert "a captured one differs" in eager_all_the_same(cuda, 0, counting)


def test_a_mistake_of_the_network_is_raised_by_the_eager_step(cuda):
    with pytest.raises(ValueError, match="of the network itself"):
        eager_all_the_same(cuda, 0, broken)
