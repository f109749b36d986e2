"""Claims about networks as ONNX: which there are, that they answer alike, what is beside them."""

import json
import sys
import warnings

import numpy as np
import pytest
import torch
from counter_cases import built_in, case
from PIL import Image
from scipy.ndimage import maximum_filter

from cellbench import count, export
from cellbench.config.sources import config_folders, load_file
from cellbench.counting.onnx_operators import operators_known
from cellbench.errors import UserError
from cellbench.models.folding import fold_batch_norms
from cellbench.registry import COUNTERS

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
from cellbench.counting import network_export  # noqa: E402 - imports nothing of the extra itself

METHODS = config_folders()[-1] / "methods"

# By the stem of a config: whether its network takes any size, one alone, or cannot be exported,
# and then why.
ANY, ONE = "any", "one"
EXPORTS = {
    "blobforest": "no network",
    "bloblog": "no network",
    "cellpose": "style vector",
    "cellpose_zeroshot": "another Python",
    "countception": ANY,
    "csrnet": ANY,
    "dcl": ANY,
    "diffusedenoise": "draws noise",
    "dla": ANY,
    "dmcount": ANY,
    "fasterrcnn": "list of boxes",
    "fcrn": ANY,
    "libranet": "several turns",
    "mcnn": ANY,
    "meancount": "no network",
    "ordinalentropy": ANY,
    "p2pnet": ANY,
    "pgcnet": ANY,
    "sasnet": ANY,
    "saunet": ANY,
    "sfcn": ONE,  # messages go from row to row and column to column, as often as there are some
    "stardist": ANY,
    "stardist_zeroshot": "another Python",
    "unet": ANY,
    "watershed": "no network",
}
CHEAP = {"fcrn", "mcnn", "meancount"}


def exported(stem):
    torch.manual_seed(0)
    counter, _ = case(METHODS / f"{stem}.py").build_trained()
    return network_export.onnx_of(fold_batch_norms(counter.eval()), stem)


def test_every_registered_counter_is_in_the_table():
    covered = {load_file(METHODS / f"{stem}.py")["model"]["type"] for stem in EXPORTS}
    assert covered >= set(built_in(COUNTERS)) - {"DensityCounter"}  # a skeleton


@pytest.mark.parametrize(
    "stem",
    [
        stem if stem in CHEAP else pytest.param(stem, marks=pytest.mark.slow)
        for stem, kind in EXPORTS.items()
        if kind in (ANY, ONE)
    ],
)
def test_onnxruntime_answers_as_pytorch_does(stem, monkeypatch):
    monkeypatch.setattr(network_export, "_ONE_SIZE_PX", 128)
    _, size, difference = exported(stem)
    assert difference < 1e-4
    assert (size is None) == (EXPORTS[stem] == ANY)


@pytest.mark.parametrize("stem", [s for s, kind in EXPORTS.items() if kind not in (ANY, ONE)])
def test_what_cannot_be_exported_says_why(stem):
    kind = COUNTERS.get(load_file(METHODS / f"{stem}.py")["model"]["type"])
    assert not kind.answers
    assert EXPORTS[stem] in kind.no_export


def test_a_deformable_convolution_is_exported(tmp_path):
    from cellbench.registry import CONVS

    layer = CONVS.get("Deformable")(4, 6)
    torch.nn.init.normal_(layer.where.weight, std=0.2)
    pixels = torch.randn(2, 4, 12, 20, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "layer.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in an export
        with operators_known():
            torch.onnx.export(
                layer.eval(), (pixels,), str(file), dynamo=False, input_names=["x"],
                opset_version=network_export.OPSET,
            )  # fmt: skip
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:
        pytest.skip(f"this onnxruntime has no deformable convolution: {error}")
    (found,) = session.run(None, {"x": pixels.numpy()})
    np.testing.assert_allclose(found, layer(pixels).detach().numpy(), atol=1e-4)


def test_a_network_that_answers_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr(network_export, "_difference", lambda *given: 0.5)
    monkeypatch.setattr(network_export, "_ONE_SIZE_PX", 64)
    with pytest.raises(UserError, match=r"mcnn cannot be exported: .*differ by 0.5 of"):
        exported("mcnn")


def test_without_the_packages_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"package onnxruntime: pip install 'cellbench\[onnx\]'"):
        exported("mcnn")


def test_a_picture_is_counted_by_what_the_files_say(tmp_path):
    """The number of `cellbench count`, from onnxruntime and the JSON file alone."""
    done = export("nuclei-unet", out=tmp_path / "nuclei.onnx")
    facts = json.loads(done.sidecar.read_text())
    y, x = np.mgrid[:128, :192]
    field = sum(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 60)
        for cx in range(20, 180, 32)
        for cy in (30, 90)
    )
    picture = Image.fromarray((200 * np.clip(field, 0, 1)).astype(np.uint8)).convert("RGB")
    picture.save(tmp_path / "a.png")

    given = facts["input"]
    edges = [round(edge * given["scale"]) for edge in picture.size]
    small = np.asarray(picture.resize(edges, Image.Resampling.BILINEAR), np.float32) / 255
    normal = (small - np.float32(given["mean"])) / np.float32(given["std"])
    high, wide = (-(-edge // given["multiple"]) * given["multiple"] for edge in normal.shape[:2])
    pixels = np.zeros((1, 3, high, wide), np.float32)
    pixels[0, :, : normal.shape[0], : normal.shape[1]] = normal.transpose(2, 0, 1)
    session = onnxruntime.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
    names = list(facts["outputs"])
    found = dict(zip(names, session.run(names, {given["name"]: pixels}), strict=True))
    reading, limit = facts["reading"], facts["thresholds"]["threshold"]
    # Of the references in the image those that are the highest of the proposals around them.
    inside = (found["references"] < normal.shape[1::-1]).all(axis=1)
    scores = np.where(inside, found["scores"][0], 0).reshape(high, wide)
    highest = scores == maximum_filter(scores, reading["peaks"])
    sure = np.flatnonzero(highest & (scores >= max(limit, reading["score_floor"])))
    sure = sure[np.argsort(-scores.reshape(-1)[sure], kind="stable")]
    counted: list[np.ndarray] = []
    for point in found["points"][0][sure]:
        if all(np.hypot(*(point - other)) > reading["apart_px"] for other in counted):
            counted.append(point)
    wanted = count(tmp_path / "a.png", "nuclei-unet", out=tmp_path / "counts").counts
    assert facts["calibration"] is None
    assert len(counted) == wanted["count"].item() == 10
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata[network_export.METADATA]) == facts
    with pytest.raises(UserError, match="add --force"):
        export("nuclei-unet", out=tmp_path / "nuclei.onnx")


def test_a_method_without_a_network_is_refused_by_name():
    with pytest.raises(UserError, match="BlobLoG cannot be exported: it has no network"):
        export("nuclei-blobs")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("folder", ["exdir", "net.json"])
def test_a_folder_is_no_file_to_write(tmp_path, force, folder):
    (tmp_path / folder).mkdir()
    out = tmp_path / folder if folder == "exdir" else tmp_path / "net.onnx"
    with pytest.raises(UserError, match=rf"{folder} is a folder; name another file with --out"):
        export("nuclei-unet", out=out, force=force)
