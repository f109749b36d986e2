"""Claims about the weights that a run kept: only the record's own, and finite ones, are used."""

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch

from cellbench.errors import UserError
from cellbench.models import kept_weights
from cellbench.models.build import build_counter
from cellbench.models.kept_weights import load_kept, read_kept, state_of


@pytest.fixture(scope="module")
def model():
    from cellbench.config.compose import resolve

    return resolve("methods/unet.py", dataset="adi").model


@pytest.fixture(scope="module")
def state(model):
    torch.manual_seed(0)
    return build_counter(model, load_weights=False).state_dict()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "best.safetensors"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def written(file, state):
    content = safetensors.torch.save({k: v.contiguous() for k, v in state.items()})
    file.write_bytes(content)
    return content


def a_float(state):
    return next(name for name, tensor in state.items() if tensor.ndim == 4)


def swapped(state):
    """Two tensors of one shape in each other's place."""
    names = [name for name in state if name.endswith("weight") and state[name].ndim == 4]
    for first in names:
        for second in names:
            if first < second and state[first].shape == state[second].shape:
                return {**state, first: state[second], second: state[first]}
    raise AssertionError("no two tensors of one shape")


def test_the_records_own_weights_are_loaded(model, state, file):
    content = written(file, state)
    for known in (sha256(content), None):
        loaded = load_kept(model, file, sha256=known).state_dict()
        assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_method_is_known_without_its_memory(model, state):
    known = state_of(model)
    assert {name: (t.shape, t.dtype) for name, t in known.items()} == {
        name: (t.shape, t.dtype) for name, t in state.items()
    }
    assert {t.device.type for t in known.values()} == {"meta"}


def test_permuted_weights_are_refused_unless_they_are_trusted(model, state, file):
    own = sha256(written(file, state))
    other = swapped(state)
    written(file, other)
    with pytest.raises(UserError, match="other weights than those that its record scored"):
        load_kept(model, file, sha256=own)
    with pytest.raises(UserError, match="other weights than those that its record scored"):
        read_kept(state_of(model), file, sha256=own)
    trusted = load_kept(model, file, sha256=own, trust=True).state_dict()
    assert all(torch.equal(trusted[name], other[name]) for name in other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("trust", [True, False])
def test_values_that_are_not_finite_are_never_used(model, state, file, value, trust):
    name = a_float(state)
    spoiled = state[name].clone()
    spoiled[-1, -1, -1, -1] = value
    content = written(file, {**state, name: spoiled})
    for known in (sha256(content), None):
        with pytest.raises(UserError, match=f"not finite in '{name}'"):
            load_kept(model, file, sha256=known, trust=trust)


def test_a_variance_below_zero_is_refused(model, state, file):
    name = next(n for n in state if n.endswith("running_var"))
    written(file, {**state, name: -state[name]})
    with pytest.raises(UserError, match=f"below zero in '{name}'"):
        load_kept(model, file, sha256=None)


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, payload, pad=0):
    text = json.dumps(header).encode().ljust(pad)
    return struct.pack("<Q", len(text)) + text + payload


def redeclared(content, name, **changes):
    header, payload = header_of(content)
    header[name] = {**header[name], **changes}
    return with_header(header, payload)


def renamed(content, old, new):
    header, payload = header_of(content)
    return with_header({new if key == old else key: v for key, v in header.items()}, payload)


DAMAGE = {
    "cut": lambda content, name: content[:-1],
    "cut to its header": lambda content, name: content[:2000],
    "empty": lambda content, name: b"",
    "too long": lambda content, name: content + bytes(10**6),
    "a header of exabytes": lambda content, name: struct.pack("<Q", 2**60) + content[8:],
    "a header of nothing": lambda content, name: struct.pack("<Q", 0) + content[8:],
    "a header that is no JSON": lambda content, name: content[:8] + b"x" * 50 + content[58:],
    "a header that is a list": lambda content, name: with_header([], content[8:]),
    "a deep header": lambda content, name: (
        struct.pack("<Q", 20_000) + b"[" * 20_000 + content[20_008:]
    ),
    "a huge shape": lambda content, name: redeclared(content, name, shape=[2**40, 2**20]),
    "another shape": lambda content, name: redeclared(content, name, shape=[1]),
    "a shape below zero": lambda content, name: redeclared(content, name, shape=[-1, 5]),
    "a shape that is text": lambda content, name: redeclared(content, name, shape="big"),
    "another type": lambda content, name: redeclared(content, name, dtype="I32"),
    "no type": lambda content, name: redeclared(content, name, dtype="XX"),
    "another name": lambda content, name: renamed(content, name, "somewhere.else"),
    "places beyond its end": lambda content, name: redeclared(
        content, name, data_offsets=[2**50, 2**51]
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is_not_the_methods_is_one_sentence(model, state, file, kind):
    content = DAMAGE[kind](written(file, state), a_float(state))
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_kept(model, file, sha256=None, trust=True)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("kind", ["extra", "missing", "another method"])
def test_tensors_too_many_or_too_few_are_named(model, state, file, kind):
    name = a_float(state)
    if kind == "extra":
        written(file, {**state, "further": torch.zeros(1)})
        words = "no 'further'"
    elif kind == "missing":
        rest = {k: v for k, v in state.items() if k != name}
        written(file, {**rest, "filler": torch.zeros_like(state[name])})
        words = f"'{name}' is missing"
    else:
        written(file, {"weight": torch.zeros(3)})
        words = "does not hold this method's weights"
    with pytest.raises(UserError, match=words):
        read_kept(state, file, sha256=None)


def test_a_folder_or_a_pipe_is_no_file_of_weights(state, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "nothing"):
        with pytest.raises(UserError, match="cannot be read"):
            read_kept(state, place, sha256=None)


def test_a_method_larger_than_any_is_refused_before_it_takes_memory(model, monkeypatch):
    for channels, words in (
        ([2**15, 2**15], "bytes of weights, as none has"),
        ([2**53, 2**53], "cannot be made|bytes of weights"),
        ([-1], "cannot be made"),
    ):
        huge = {**model, "backbone": {**model["backbone"], "channels": channels}}
        with pytest.raises(UserError, match=words):
            state_of(huge)
    monkeypatch.setattr(kept_weights, "MOST_MODULES", 10)
    with pytest.raises(UserError, match="more than 10 modules"):
        state_of(model)
    monkeypatch.undo()
    assert state_of(model)  # nothing of the limits is left behind
