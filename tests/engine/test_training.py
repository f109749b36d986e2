"""The training loop against the same training in plain PyTorch, and what it leaves behind."""

import itertools
import math
import os
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import ONE, TWO, Pictures, TinyCounter, plain_loop, training, whole

from cellbench.engine import training as loop
from cellbench.engine.capture import EagerHalves
from cellbench.engine.checkpoints import save_weights
from cellbench.engine.devices import Processes
from cellbench.engine.evaluation import validate
from cellbench.engine.loss_watch import LossWatch
from cellbench.engine.schedule import Plan
from cellbench.engine.training import TrainingStep, finish_fit, run_training
from cellbench.errors import RunError

PLAN = Plan(12, (5, 8, 12))


class LateWatch(LossWatch):
    """Losses that are read when they are asked for, as on a GPU that is far behind."""

    def __init__(self, sums):
        super().__init__(sums)
        self.late = []

    def add(self, step, loss):
        self.late.append((step, loss))

    def settle(self):
        late, self.late = self.late, []
        for step, loss in late:
            self._read(step, loss)


@pytest.fixture(params=[LossWatch, LateWatch], ids=["prompt", "late"])
def watch(request, monkeypatch):
    """Losses that arrive with their step, and losses that arrive later."""
    monkeypatch.setattr(loop, "LossWatch", request.param)


def quiet(step, loss, mae):
    """Show nothing."""


def checkpoint(folder):
    return torch.load(folder / "last.pth", weights_only=True)


def same(found, expected, **tolerance):
    torch.testing.assert_close(dict(found), dict(expected), **tolerance)


@pytest.mark.parametrize("ema", [None, 0.8])
@pytest.mark.parametrize(("stages", "lengths"), [(ONE, [12]), (TWO, [4, 8])], ids=["one", "two"])
def test_the_loop_is_plain_pytorch_with_another_name(tmp_path, watch, stages, lengths, ema):
    given = training(tmp_path, stages=stages, ema=ema)
    before = given.counter.state_dict()["head.bias"].clone()
    losses, weights, averages = plain_loop(given, lengths, ema=ema)
    state = run_training(given, PLAN, show=quiet)
    close = {"rtol": 1e-4, "atol": 1e-5}
    same(given.counter.state_dict(), weights[-1], **close)
    assert not torch.equal(given.counter.state_dict()["head.bias"], before)

    # Each look has the mean of the losses since the one before, those of its own stage alone.
    assert [point["step"] for point in state.curve] == [5, 8, 12]
    for first, point in zip((sum(lengths[:-1]), 5, 8), state.curve, strict=True):
        wanted = np.mean(losses[first : int(point["step"])])
        assert point["loss"] == pytest.approx(wanted, rel=1e-4)

    # The average is validated, and of the looks the best one is kept.
    errors = []
    for step in PLAN.validate_after:
        looked = TinyCounter()
        looked.load_state_dict(averages[step - 1])
        found = validate(looked, whole(*Pictures.ids[8:]), radius_px=2.0, precision="float32")
        errors.append(found.mae)
    assert [point["validation_mae"] for point in state.curve] == pytest.approx(errors, rel=1e-3)
    best = PLAN.validate_after[int(np.argmin(errors))]
    assert (state.step, state.best_step) == (12, best)
    assert state.best_mae == pytest.approx(min(errors), rel=1e-3)
    same(load_file(tmp_path / "best.safetensors"), averages[best - 1], **close)


@pytest.mark.parametrize("ema", [None, 0.8])
@pytest.mark.parametrize("stop", [2, 4, 7, 11])
def test_a_training_that_is_stopped_goes_on_as_if_it_had_not_been(
    tmp_path, monkeypatch, watch, stop, ema
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)  # after every step
    unbroken = training(tmp_path / "unbroken", stages=TWO, ema=ema)
    expected = run_training(unbroken, PLAN, show=quiet)

    def killed(step, loss, mae):
        if step == stop:
            raise MemoryError

    with pytest.raises(MemoryError):
        run_training(training(tmp_path / "broken", stages=TWO, ema=ema), PLAN, show=killed)
    seen = []
    resumed = training(tmp_path / "broken", stages=TWO, ema=ema)
    found = run_training(resumed, PLAN, show=lambda step, loss, mae: seen.append(step))
    assert seen == list(range(stop + 1, 13))
    same(resumed.counter.state_dict(), unbroken.counter.state_dict(), rtol=0, atol=0)
    best = [load_file(tmp_path / name / "best.safetensors") for name in ("broken", "unbroken")]
    same(*best, rtol=0, atol=0)
    assert found.curve == expected.curve
    assert (found.best_step, found.best_mae) == (expected.best_step, expected.best_mae)
    assert found.seconds > 0


def test_ctrl_c_ends_the_step_and_saves_it(tmp_path):
    given, seen = training(tmp_path), []

    def show(step, loss, mae):
        seen.append(step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_training(given, PLAN, show=show)
    assert seen == [1, 2, 3]
    kept = checkpoint(tmp_path)
    assert kept["state"]["step"] == 4
    same(kept["counter"], given.counter.state_dict(), rtol=0, atol=0)


def test_without_a_reason_no_checkpoint_is_written_between_looks(tmp_path):
    def show(step, loss, mae):
        assert (tmp_path / "last.pth").is_file() == (step >= 5)

    run_training(training(tmp_path), PLAN, show=show)


def test_the_steps_are_shown_with_their_loss_and_the_error_of_the_last_look(tmp_path):
    shown = []
    state = run_training(training(tmp_path), PLAN, show=lambda *told: shown.append(told))
    losses = plain_loop(training(tmp_path), [12])[0]
    assert [step for step, _, _ in shown] == list(range(1, 13))
    assert [loss for _, loss, _ in shown] == pytest.approx(losses, rel=1e-4)
    looks = {int(point["step"]): point["validation_mae"] for point in state.curve}
    expected = [None] * 4 + [looks[5]] * 3 + [looks[8]] * 4 + [looks[12]]
    assert [mae for _, _, mae in shown] == expected


@pytest.mark.parametrize("bad", [3, 8, 12])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_in_no_checkpoint_and_no_kept_weights(
    tmp_path, monkeypatch, watch, bad, value
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    honest, calls = TinyCounter.loss, itertools.count(1)

    def poisoned(self, batch):
        terms = honest(self, batch)
        return {"loss": terms["loss"] * value} if next(calls) == bad else terms

    monkeypatch.setattr(TinyCounter, "loss", poisoned)
    # A plan that does not look after the last step, so that nothing else reads its loss.
    with pytest.raises(RunError, match=f"at step {bad}; the last good checkpoint is kept"):
        run_training(training(tmp_path), Plan(12, (2, 8)), show=quiet)
    kept = checkpoint(tmp_path)
    assert kept["state"]["step"] == bad - 1
    for tensors in (kept["counter"], load_file(tmp_path / "best.safetensors")):
        assert all(torch.isfinite(value).all() for value in tensors.values())


def test_the_last_loss_is_read_where_no_look_and_no_checkpoint_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LossWatch", LateWatch)
    state = run_training(training(tmp_path), Plan(6, (4,)), show=quiet)
    assert (state.step, state.loss_steps) == (6, 2)


def test_without_validation_images_the_weights_of_the_last_step_are_kept(tmp_path):
    given = training(tmp_path, validation=False)
    state = run_training(given, PLAN, show=quiet)
    assert (state.best_step, state.best_mae, state.thresholds) == (12, None, {})
    assert all("validation_mae" not in point for point in state.curve)
    same(load_file(tmp_path / "best.safetensors"), given.counter.state_dict(), rtol=0, atol=0)


def test_each_start_of_a_run_appends_to_its_log(tmp_path):
    for _ in range(2):
        run_training(training(tmp_path, validation=False), PLAN, show=quiet)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert sum(line.endswith("training on cpu, float32") for line in lines) == 2
    assert sum(" loss " in line for line in lines) == 3  # the second start had nothing left to do


@pytest.fixture
def group(tmp_path):
    """A process group of one, so that what several processes do can be tried in this one."""
    store = torch.distributed.FileStore(str(tmp_path / "group"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_second_process_trains_on_its_share_and_writes_nothing_but_its_log(tmp_path, group):
    folder, second = tmp_path / "run", Processes(1, 2)
    given = training(folder, processes=second)
    losses, weights, _ = plain_loop(given, [12], rank=1, world=2)
    state = run_training(given, PLAN, show=lambda *told: pytest.fail("it speaks"))
    same(given.counter.state_dict(), weights[-1], rtol=1e-4, atol=1e-5)
    assert state.loss_sum == pytest.approx(sum(losses), rel=1e-4)
    assert [file.name for file in folder.iterdir()] == ["log-rank.txt"]
    found = finish_fit(given, 0.0)
    assert found.best_mae is not None
    assert not (folder / "best.safetensors").exists()


class Memory(torch.nn.Module):
    """A part whose buffers belong together; no process group can send one of them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("goals", torch.zeros(2, dtype=torch.int16))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))


def test_what_cannot_be_sent_each_process_keeps_for_itself(tmp_path, group):
    given = training(tmp_path)
    sent = [*given.counter.buffers()]
    given.counter.memory = Memory()
    update = TrainingStep(
        given.counter, given.config.optimizer, device=torch.device("cpu"), precision="float32",
        processes=Processes(0, 2),
    )  # fmt: skip
    assert update(given.train.batch(0), seed=0).isfinite()
    found = update._parallel.modules_buffers
    assert {id(buffer) for buffer in found} == {id(buffer) for buffer in sent}


@pytest.mark.parametrize(
    ("device", "allowed", "options", "captures"),
    [
        ("cuda", True, {}, 2),
        ("cuda", False, {}, 0),
        ("cuda", True, {"eager": True}, 0),
        ("cuda", True, {"processes": Processes(0, 2)}, 0),
        ("cpu", True, {}, 0),
    ],
)
def test_on_a_gpu_the_network_is_captured_at_its_first_step_and_anew_where_it_is_forgotten(
    tmp_path, group, monkeypatch, device, allowed, options, captures
):
    given, captured = training(tmp_path), []
    given.counter.captures = allowed
    monkeypatch.setattr(loop, "capture", lambda *given, **named: captured.append(given))
    monkeypatch.setattr(loop, "autocast", lambda *given: nullcontext())  # of a GPU played here
    update = TrainingStep(
        given.counter, given.config.optimizer, device=torch.device(device), precision="float32",
        **options,
    )  # fmt: skip
    for step in range(4):
        if step == 2:
            update.forget_capture()
        update(given.train.batch(step), seed=step)
    assert len(captured) == captures


def test_a_step_in_two_halves_as_it_is_captured_moves_the_weights_as_one_in_one_piece(tmp_path):
    states = []
    for halved in (False, True):
        given = training(tmp_path)
        update = TrainingStep(
            given.counter, given.config.optimizer, device=torch.device("cpu"), precision="float32"
        )
        update.captured = EagerHalves(given.counter, precision="float32") if halved else None
        for step in range(3):
            update(given.train.batch(step), seed=step)
        states.append(given.counter.state_dict())
    same(*states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("validation", [True, False])
def test_a_method_that_trained_itself_keeps_its_weights_and_its_error(tmp_path, validation):
    given = training(tmp_path, validation=validation)
    state = finish_fit(given, loop.time.monotonic())
    errors = [
        abs(found.count - sample.count)
        for data, samples in whole(*Pictures.ids[8:])
        for found, sample in zip(
            given.counter.eval().predict(given.counter.data_preprocessor(data)["images"]),
            samples,
            strict=True,
        )
    ]
    assert state.best_mae == (pytest.approx(np.mean(errors), rel=1e-4) if validation else None)
    assert (state.step, state.best_step, state.curve) == (0, 0, [])
    assert 0 <= state.seconds < 60
    save_weights(given.counter, tmp_path / "own")
    assert (tmp_path / "own").read_bytes() == (tmp_path / "best.safetensors").read_bytes()
