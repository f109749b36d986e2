"""Claims about records and run folders of strangers: `count` and `verify` take data alone."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from cellbench.cli.main import main
from cellbench.config.compose import config_of_record
from cellbench.engine.request import Request
from cellbench.engine.run import run
from cellbench.hashes import content_hash
from cellbench.records.record_file import read_record


@pytest.fixture(scope="module")
def finished(simulated_home, tmp_path_factory):
    """A store with a run of a method that needs no training, and a network's."""
    store = tmp_path_factory.mktemp("strangers-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(simulated_home))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        asked = {"dataset": "adi-sim", "protocol": "smoke", "epochs": 1, "store": str(store)}
        run(Request("methods/bloblog.py", **asked))
        small = ("model.backbone.channels=[4, 4]", "model.decoder.channels=4", "data.batch_size=2")
        run(Request("methods/unet.py", overrides=small, **asked))
    return store


@pytest.fixture
def folder(finished, tmp_path, monkeypatch, simulated_home):
    """The run folder of the network, as somebody may send it."""
    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    monkeypatch.setenv("CELLBENCH_STORE", str(tmp_path / "own-store"))
    monkeypatch.chdir(tmp_path)
    (run_folder,) = (finished / "runs" / "adi-sim").glob("unet*")
    shutil.copytree(run_folder, tmp_path / "sent")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "sent"


@pytest.fixture
def store(folder, finished, tmp_path):
    """The whole store, with the record in its place."""
    shutil.copytree(finished, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def marker(tmp_path):
    """A program that leaves a mark; no command may start it."""
    mark = tmp_path / "PWNED"
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    yield program
    assert not mark.exists()


def spoil(path, edit):
    """Change a record as somebody would who knows how its hashes are made."""
    record = json.loads(path.read_text())
    edit(record)
    try:
        record["config_hash"] = config_of_record(record["config"], "It").hash
    except Exception:
        from cellbench.hashes import config_hash

        record["config_hash"] = config_hash(record["config"])
    record["content_hash"] = content_hash(record)
    path.write_text(json.dumps(record))


def refused(capsys, *arguments):
    """The one sentence with which a command ends; nothing is written."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert ended.value.code == 2, (out, err)
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def refused_by_both(capsys, folder, store):
    """What `count` says to a run folder and a record, and `verify` to the record."""
    (record,) = (store / "leaderboards/records/adi-sim").glob("UNet*.json")
    shutil.copy(folder / "record.json", record)
    return [
        refused(capsys, "count", "a.png", "--with", folder, "--out", "out"),
        refused(capsys, "count", "a.png", "--with", record, "--out", "out"),
        refused(capsys, "verify", record),
    ]


def zero_shot(name, **options):
    return lambda record: record["config"].update(model={"type": name, **options})


HOSTILE = {
    "cellpose python": ("model.python", "CellposeZeroShot", lambda evil: zero_shot(
        "CellposeZeroShot", python=evil)),
    "stardist python": ("model.python", "StarDistZeroShot", lambda evil: zero_shot(
        "StarDistZeroShot", python=evil)),
    "cellpose weights": ("model.weights", "CellposeZeroShot", lambda evil: zero_shot(
        "CellposeZeroShot", weights="/etc/passwd")),
    "cellpose relative weights": ("model.weights", "CellposeZeroShot", lambda evil: zero_shot(
        "CellposeZeroShot", weights="evil.sh")),
    "stardist weights": ("model.weights", "StarDistZeroShot", lambda evil: zero_shot(
        "StarDistZeroShot", weights="../models/x")),
    "stardist address": ("model.weights", "StarDistZeroShot", lambda evil: zero_shot(
        "StarDistZeroShot", weights="http://example.org/x.zip")),
    "trunk weights": ("model.backbone.weights", "VGG16", lambda evil: lambda record: record[
        "config"]["model"].update(backbone={"type": "VGG16", "weights": "/etc/passwd"})),
    "trunk address": ("model.backbone.weights", "VGG16", lambda evil: lambda record: record[
        "config"]["model"].update(backbone={"type": "VGG16", "weights": "https://example.org/w"})),
    "dotted type": ("model.type", "os.system", lambda evil: zero_shot("os.system")),
    "scope": ("_scope_", "UNet", lambda evil: lambda record: record["config"]["model"].update(
        _scope_="mmdet")),
    "base": ("_base_", "no such key", lambda evil: lambda record: record["config"].update(
        _base_="evil.py")),
    "transform": ("data.prepare.0.type", "Nothing", lambda evil: lambda record: record["config"][
        "data"].update(prepare=[{"type": "Nothing", "file": "/x"}])),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_sets_no_program_path_or_address(capsys, folder, store, marker, kind):
    path, words, edit = HOSTILE[kind]
    spoil(folder / "record.json", edit(str(marker)))
    for sentence in refused_by_both(capsys, folder, store):
        assert path in sentence
        assert words in sentence
    assert not (folder.parent / "out").exists()


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


NONSENSE = {
    "deep": lambda r: r["config"]["schedule"].update(x=deep(400)),
    "deep elsewhere": lambda r: r["metrics"].update(x=deep(400)),
    "a huge number": lambda r: r["metrics"].update(mae=10**400),
    "an error that is text": lambda r: r["metrics"].update(mae="none"),
    "a set that is a path": lambda r: r.update(dataset="../../etc"),
    "a protocol that is a path": lambda r: r.update(protocol="../v1"),
    "a split below zero": lambda r: r.update(split=-1),
    "a seed too large": lambda r: r.update(seed=2**40),
    "steps without end": lambda r: r.update(iterations=10**15),
    "a hash that is none": lambda r: r["weights"].update(sha256="/etc/passwd"),
    "scored weights that are none": lambda r: r.update(scored_weights={"sha256": 5}),
    "points elsewhere": lambda r: r.update(points={"file": "../x.npz", "sha256": "0" * 64}),
    "images that are none": lambda r: r.update(images=[5]),
    "a count that is text": lambda r: r["images"][0].update(prediction="many"),
    "a model that is a list": lambda r: r["config"].update(model=[]),
    "no step that was selected": lambda r: r["selection"].pop("step"),
    "data that is a number": lambda r: r["config"].update(data=5),
    "a recipe that is text": lambda r: r["config"].update(recipe="x"),
    "no model": lambda r: r["config"].pop("model"),
    "channels without end": lambda r: r["config"]["model"]["backbone"].update(
        channels=[2**15, 2**15]
    ),
    "channels below zero": lambda r: r["config"]["model"]["backbone"].update(channels=[-4]),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_record_that_holds_nonsense_is_one_sentence(capsys, folder, store, kind):
    spoil(folder / "record.json", NONSENSE[kind])
    for sentence in refused_by_both(capsys, folder, store):
        assert len(sentence) < 1200
    assert not (folder.parent / "out").exists()


def test_a_record_that_was_edited_does_not_count(capsys, folder):
    path = folder / "record.json"
    text = path.read_text()
    record = read_record(path)
    edited = text.replace(f'"mae": {record["metrics"]["mae"]}', '"mae": 0.5', 1)
    assert edited != text
    path.write_text(edited)
    said = refused(capsys, "count", "a.png", "--with", folder, "--out", "out")
    assert "changed after it was written" in said


def weights_of(folder):
    return safetensors.torch.load((folder / "best.safetensors").read_bytes())


def permuted(state):
    names = [n for n in state if n.endswith(".weight") and state[n].ndim == 4]
    for first in names:
        for second in names:
            if first < second and state[first].shape == state[second].shape:
                return {**state, first: state[second], second: state[first]}
    raise AssertionError("no two tensors of one shape")


def infected(state):
    name = next(n for n in state if state[n].ndim == 4)
    spoiled = state[name].clone()
    spoiled[0, 0, 0, 0] = torch.nan
    return {**state, name: spoiled}


def put(folder, store, state):
    for place in (folder, *(store / "runs" / "adi-sim").glob("unet*")):
        (place / "best.safetensors").write_bytes(safetensors.torch.save(state))


def test_permuted_weights_are_refused_and_can_be_trusted(capsys, folder, store):
    put(folder, store, permuted(weights_of(folder)))
    for sentence in refused_by_both(capsys, folder, store):
        assert "other weights than those that its record scored" in sentence
        assert "--trust-weights" in sentence
    assert not (folder.parent / "out").exists()
    main(["count", "a.png", "--with", str(folder), "--out", "out", "--trust-weights"])
    assert "cells in 1 picture" in capsys.readouterr().out
    assert "trusted_weights" in (folder.parent / "out" / "method.json").read_text()
    (record,) = (store / "leaderboards/records/adi-sim").glob("UNet*.json")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(record), "--trust-weights"])
    assert ended.value.code == 1
    assert "Not the same" in capsys.readouterr().out


@pytest.mark.parametrize("trust", [[], ["--trust-weights"]])
@pytest.mark.parametrize("bound", [True, False])
def test_weights_that_are_not_finite_are_always_refused(capsys, folder, store, trust, bound):
    import hashlib

    put(folder, store, infected(weights_of(folder)))
    digest = hashlib.sha256((folder / "best.safetensors").read_bytes()).hexdigest()

    def edit(record):
        record["scored_weights"] = {"sha256": digest}
        if not bound:
            del record["scored_weights"]

    spoil(folder / "record.json", edit)
    (record,) = (store / "leaderboards/records/adi-sim").glob("UNet*.json")
    shutil.copy(folder / "record.json", record)
    for command in (
        ["count", "a.png", "--with", folder, "--out", "out"],
        ["verify", record],
    ):
        assert "not finite" in refused(capsys, *command, *trust)


def test_a_copied_run_folder_counts_and_its_record_holds_the_hash_of_its_weights(capsys, folder):
    import hashlib

    digest = hashlib.sha256((folder / "best.safetensors").read_bytes()).hexdigest()
    assert read_record(folder / "record.json")["scored_weights"] == {"sha256": digest}
    main(["count", "a.png", "--with", str(folder), "--out", "out"])
    out = capsys.readouterr().out
    assert "cells in 1 picture" in out
    assert "before records held the hash" not in out


def test_a_record_without_the_hash_is_told_once(capsys, folder, store):
    spoil(folder / "record.json", lambda record: record.pop("scored_weights"))
    Image.new("RGB", (64, 64), "white").save("b.png")
    main(["count", "a.png", "b.png", "--with", str(folder), "--out", "out"])
    assert capsys.readouterr().out.count("before records held the hash") == 1
    (record,) = (store / "leaderboards/records/adi-sim").glob("UNet*.json")
    shutil.copy(folder / "record.json", record)
    main(["verify", str(record)])
    out = capsys.readouterr().out
    assert out.count("before records held the hash") == 1
    assert "Same: " in out


def test_methods_without_a_network_are_bound_to_their_weights_too(capsys, folder, store):
    (run_folder,) = (store / "runs" / "adi-sim").glob("bloblog*")
    main(["count", "a.png", "--with", str(run_folder), "--out", "out"])
    assert "cells in 1 picture" in capsys.readouterr().out
    state = weights_of(run_folder)
    (run_folder / "best.safetensors").write_bytes(
        safetensors.torch.save({name: tensor + 1 for name, tensor in state.items()})
    )
    said = refused(capsys, "count", "a.png", "--with", run_folder, "--out", "other")
    assert "other weights" in said


def test_a_yaml_config_with_a_tag_is_refused(capsys, folder, tmp_path):
    (tmp_path / "evil.yaml").write_text(
        f'method: !!python/object/apply:os.system ["touch {tmp_path}/PWNED"]\n'
    )
    said = refused(capsys, "run", "evil.yaml")
    assert "tags" in said
    assert not (tmp_path / "PWNED").exists()
