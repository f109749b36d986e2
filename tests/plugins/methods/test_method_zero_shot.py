"""Tools with their own weights, in a stand-in environment: the same interface, a real process."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import UserError
from cellbench.models.build import build_counter

CELLPOSE = """
import numpy as np
from scipy import ndimage

print("Welcome to the stand-in")  # a tool that chats must not be taken for an answer


class CellposeModel:
    def __init__(self, gpu, pretrained_model):
        if pretrained_model == "unreachable":
            raise OSError("no network\\nat all")
        self.pretrained_model = pretrained_model

    def eval(self, image, diameter=None):
        print("looking at", image.shape)
        assert image.dtype == np.uint8
        if image.shape[0] == 13:
            raise ValueError("unlucky")
        if image.shape[0] == 14:
            raise SystemExit("killed")
        masks, _ = ndimage.label(image.mean(axis=2) < 100)
        return masks, [None, None, np.where(masks > 0, 2.0, -2.0)], None
"""

STARDIST = """
import types
from pathlib import Path

import numpy as np
from scipy import ndimage


class StarDist2D:
    def __init__(self, config, name, basedir):
        self.config = types.SimpleNamespace(n_channel_in=1)
        self.logdir = Path(basedir) / name

    @classmethod
    def from_pretrained(cls, name):
        print("There are 5 registered models")
        return cls(None, name, "nowhere") if name.startswith("2D_versatile") else None

    def predict_instances(self, image):
        assert image.ndim == 2
        masks, number = ndimage.label(image < 0.4)
        points = np.array(ndimage.center_of_mass(masks > 0, masks, range(1, number + 1)))
        return masks, {"points": points.reshape(-1, 2), "prob": np.full(number, 0.75)}
"""

NORMALIZE = """
import numpy as np


def normalize(image, low, high, axis=None):
    bottom, top = np.percentile(image, [low, high], axis=axis)
    return (image - bottom) / max(top - bottom, 1e-6)
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> str:
    """An interpreter that has a `cellpose` and a `stardist`, and no cellbench."""
    folder: Path = tmp_path_factory.mktemp("environment")
    files = {
        "cellpose/__init__.py": "",
        "cellpose/models.py": CELLPOSE,
        "cellpose-4.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: cellpose\nVersion: 4.9\n",
        "stardist/__init__.py": "",
        "stardist/models.py": STARDIST,
        "csbdeep/__init__.py": "",
        "csbdeep/utils.py": NORMALIZE,
    }
    for name, content in files.items():
        file = folder / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return interpreter(folder / "python", folder / "site")


def interpreter(file, site):
    file.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    file.chmod(file.stat().st_mode | stat.S_IEXEC)
    return str(file)


@pytest.fixture(scope="module")
def cellpose(stand_in):
    counter = build_counter({"type": "CellposeZeroShot", "python": stand_in}).eval()
    yield counter
    counter._started.close()


def picture(height=40, width=60):
    """Two dark squares on white, and where their middles are."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[4:9, 10:15] = 20
    pixels[0:3, 57:60] = 20
    return pixels, [[58.5, 1.5], [12.5, 6.5]]


def images(counter, arrays, scale=1.0):
    names = [str(row) for row in range(len(arrays))]
    return counter.data_preprocessor.images(arrays, scale=scale, image_ids=names)


def by_x(points):
    return sorted(points.tolist(), reverse=True)


def test_masks_of_the_other_environment_are_cells_with_points_and_scores(cellpose):
    pixels, middles = picture()
    (found,) = cellpose.predict(images(cellpose, [pixels]))
    assert found.count == 2
    np.testing.assert_allclose(by_x(found.points), middles, atol=1e-5)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-2)), rtol=1e-5)


def test_an_image_is_counted_alike_alone_and_in_a_batch_and_points_are_of_the_original(cellpose):
    small, large = picture()[0], picture(50, 80)[0]
    together = cellpose.infer(images(cellpose, [small, large], scale=2.0))
    for pixels, expected in zip((small, large), together, strict=True):
        (alone,) = cellpose.infer(images(cellpose, [pixels], scale=2.0))
        np.testing.assert_array_equal(alone.points, expected.points)
        assert (alone.points < [pixels.shape[1] / 2, pixels.shape[0] / 2]).all()


def test_an_image_without_cells_has_none(cellpose):
    (found,) = cellpose.infer(images(cellpose, [np.full((20, 30, 3), 255, dtype=np.uint8)]))
    assert (found.count, found.points.shape, found.scores.shape) == (0, (0, 2), (0,))


def test_release_and_weights_are_what_the_record_gets(cellpose):
    assert cellpose.weights_info.source == "cellpose 4.9: cpsam"
    assert cellpose.weights_info.sha256 is None


def test_nothing_is_trained(cellpose):
    assert cellpose.fit(None, None) is True
    assert list(cellpose.parameters()) == []


def test_a_failure_on_an_image_is_a_sentence_and_the_tool_lives_on(cellpose):
    with pytest.raises(UserError, match=r"CellposeZeroShot: .*ValueError: unlucky"):
        cellpose.infer(images(cellpose, [np.zeros((13, 20, 3), dtype=np.uint8)]))
    assert cellpose.infer(images(cellpose, [picture()[0]]))[0].count == 2


def test_weights_on_disk_are_named_with_their_hash(stand_in, tmp_path):
    file = tmp_path / "mine"
    file.write_bytes(b"weights")
    model = {"type": "CellposeZeroShot", "python": stand_in, "weights": str(file)}
    counter = build_counter(model)
    assert counter.weights_info.sha256.startswith("9a129038")
    counter._started.close()


def test_stardist_is_found_by_its_environment_variable(stand_in, monkeypatch):
    monkeypatch.setenv("CELLBENCH_STARDIST_PYTHON", stand_in)
    counter = build_counter({"type": "StarDistZeroShot"})
    pixels, middles = picture()
    (found,) = counter.infer(images(counter, [pixels]))
    np.testing.assert_allclose(by_x(found.points), middles, atol=1e-5)
    assert found.scores.tolist() == [0.75, 0.75]
    assert counter.weights_info.source == "stardist unknown: 2D_versatile_fluo"
    counter._started.close()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"type": "CellposeZeroShot", "weights": "unreachable"}, "OSError: no network at all"),
        ({"type": "StarDistZeroShot", "weights": "other"}, "knows no such model"),
    ],
)
def test_weights_that_cannot_be_had_are_one_sentence(stand_in, model, sentence):
    with pytest.raises(UserError) as caught:
        build_counter({**model, "python": stand_in})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "model.weights" in str(caught.value)


def test_an_environment_without_the_tool_is_one_sentence(tmp_path):
    (tmp_path / "empty" / "cellpose").mkdir(parents=True)  # a namespace without `models`
    python = interpreter(tmp_path / "python", tmp_path / "empty")
    with pytest.raises(UserError, match=r"cellpose does not import in .*\.$"):
        build_counter({"type": "CellposeZeroShot", "python": python})


def test_a_tool_that_is_nowhere_says_how_to_get_it(monkeypatch):
    monkeypatch.delenv("CELLBENCH_STARDIST_PYTHON", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"CELLBENCH_STARDIST_PYTHON .* pip install"):
        build_counter({"type": "StarDistZeroShot"})


def test_a_python_that_does_not_start_is_one_sentence():
    with pytest.raises(UserError, match="does not start"):
        build_counter({"type": "CellposeZeroShot", "python": "/nowhere/python"})


def test_a_process_that_dies_is_one_sentence_with_its_last_words(stand_in):
    counter = build_counter({"type": "CellposeZeroShot", "python": stand_in})
    with pytest.raises(UserError, match=r"ended without an answer \(killed\)"):
        counter.infer(images(counter, [np.zeros((14, 20, 3), dtype=np.uint8)]))


def test_a_tool_that_is_installed_here_runs_here(stand_in, monkeypatch):
    monkeypatch.delenv("CELLBENCH_CELLPOSE_PYTHON", raising=False)
    monkeypatch.syspath_prepend(os.fspath(Path(stand_in).parent / "site"))
    for name in [n for n in sys.modules if n.split(".")[0] == "cellpose"]:
        monkeypatch.delitem(sys.modules, name)
    counter = build_counter({"type": "CellposeZeroShot"})
    (found,) = counter.infer(images(counter, [picture()[0]]))
    assert found.count == 2
    assert isinstance(found.points, np.ndarray)


@pytest.mark.parametrize("stem", ["cellpose_zeroshot", "stardist_zeroshot"])
def test_a_counter_is_built_without_its_tool_where_no_weights_are_wanted(stem):
    path = config_folders()[-1] / "methods" / f"{stem}.py"
    counter = build_counter(load_file(path)["model"], load_weights=False)
    assert torch.nn.Module in type(counter).__mro__
    assert counter._started is None
