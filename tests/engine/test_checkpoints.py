"""Checkpoints and kept weights: whole or not at all, and what a run starts over from."""

import errno

import pytest
import torch
from safetensors.torch import load_file

from cellbench.engine import checkpoints
from cellbench.engine.checkpoints import (
    clear,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    why_unusable,
)
from cellbench.errors import RunError, UserError
from cellbench.files.locks import HELD

LOCKS = {"lock", f"lock{HELD}", "plan.json"}


@pytest.fixture
def folder(tmp_path):
    """The folder of a run that was interrupted, with all that one may hold."""
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    (run / "pictures" / "worst-1.png").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("")
    (run / "link").symlink_to(tmp_path / "elsewhere")
    for name in (*LOCKS, "log.txt", "best.safetensors"):
        (run / name).write_text(name)
    save_checkpoint(run, {"state": {"step": 3}})
    return run


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_run_that_can_go_on_keeps_its_folder(folder):
    before = names(folder)
    clear(folder, resume=True, say=lambda text: pytest.fail(text))
    assert names(folder) == before
    (folder / "last.pth").unlink()
    clear(folder, resume=True, say=lambda text: pytest.fail(text))
    assert names(folder) == before - {"last.pth"}


def test_a_run_that_is_started_over_keeps_its_lock_and_its_plan_alone(folder):
    clear(folder, resume=False, say=lambda text: pytest.fail(text))
    assert names(folder) == LOCKS
    assert (folder.parent / "elsewhere" / "kept").is_file(), "what a link points to is another's"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:500]), "cannot be read"),
        (lambda file: file.write_bytes(b""), "cannot be read"),
        (lambda file: torch.save({"state": {}}, file), "is of another version of cellbench"),
        (lambda file: torch.save({"format": 1}, file), "is of another version of cellbench"),
        (lambda file: torch.save([2], file), "is of another version of cellbench"),
    ],
    ids=["torn", "empty", "none", "older", "list"],
)
def test_a_checkpoint_that_cannot_be_used_is_said_and_removed(folder, spoil, problem):
    last, said = folder / "last.pth", []
    spoil(last)
    assert why_unusable(last) == problem
    clear(folder, resume=True, say=said.append)
    assert said == [f"The checkpoint {last} {problem}; the run starts over."]
    assert names(folder) == LOCKS


def test_a_checkpoint_is_read_as_it_was_written(folder):
    content = {"counter": {"w": torch.arange(3.0)}, "average": None, "state": {"curve": [{"a": 1}]}}
    save_checkpoint(folder, content)
    found = load_checkpoint(folder / "last.pth", "cpu")
    assert torch.equal(found["counter"].pop("w"), torch.arange(3.0))
    assert (found["counter"], found["average"], found["state"]) == ({}, None, content["state"])
    assert why_unusable(folder / "last.pth") is None


def test_checkpoints_of_the_present_format_can_be_used_by_later_versions(tmp_path):
    torch.save({"format": 2, "state": {}}, tmp_path / "last.pth")
    assert why_unusable(tmp_path / "last.pth") is None


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a checkpoint ran code",)


def test_a_checkpoint_never_runs_code(folder):
    torch.save({"format": 2, "state": Trap()}, folder / "last.pth")
    assert why_unusable(folder / "last.pth") == "cannot be read"


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_weights_are_read_as_they_were_written_whatever_their_layout(tmp_path):
    file, made, other = tmp_path / "best.safetensors", network(), network()
    made[0].weight.data = made[0].weight.data.transpose(2, 3)
    save_weights(made, file)
    load_weights(other, file)
    for name, value in made.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert torch.equal(load_file(file)[name], value)
    assert names(tmp_path) == {"best.safetensors"}


def test_weights_of_another_network_or_torn_ones_are_one_sentence(tmp_path):
    file = tmp_path / "best.safetensors"
    save_weights(network(), file)
    with pytest.raises(UserError, match="does not hold this method's weights") as caught:
        load_weights(torch.nn.Conv2d(1, 2, 3), file)
    assert "\n" not in str(caught.value)
    save_weights(network()[0], file)  # too few
    with pytest.raises(UserError, match=r"does not hold .*Missing key"):
        load_weights(network(), file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="does not hold this method's weights"):
        load_weights(network()[0], file)


@pytest.fixture
def full(monkeypatch):
    """A disk that takes no more once a file is to be made durable."""

    def no_space(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "sync", no_space)


def test_a_full_disk_leaves_the_files_before_and_no_half_one(folder, full):
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\); free"):
        save_checkpoint(folder, {"state": {"step": 4}})
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\); free"):
        save_weights(network(), folder / "best.safetensors")
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == kept


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_the_one_before(folder, monkeypatch):
    before, seen = (folder / "last.pth").read_bytes(), []
    sync = checkpoints.sync

    def watched(number):
        seen.append((folder / "last.pth").read_bytes() == before)
        sync(number)

    monkeypatch.setattr(checkpoints, "sync", watched)
    save_checkpoint(folder, {"state": {"step": 4}})
    assert seen == [True]
    assert load_checkpoint(folder / "last.pth", "cpu")["state"] == {"step": 4}
