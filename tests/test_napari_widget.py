"""The widget of napari: what it counts without napari, and with a viewer where one is installed."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from annotation_samples import nuclei_pictures
from PIL import Image

import cellbench
from cellbench import napari_widget
from cellbench.errors import UserError
from cellbench.napari_widget import count_plane, count_widget, displayed_plane, plane_in_sight


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    done = cellbench.run("methods/bloblog", dataset="nuclei", protocol="smoke", store=str(store))
    return done.folder


@pytest.fixture(scope="module")
def picture():
    ((path, points),) = nuclei_pictures(1).values()
    return np.asarray(Image.open(path)), points


def test_a_plane_is_counted_as_count_counts_its_file(run, picture, tmp_path):
    pixels, _ = picture
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = cellbench.count(tmp_path / "a.png", run, out=tmp_path / "counts", no_pictures=True)
    cells, (places, shown, kind) = count_plane(pixels, run, name="a")
    assert cells == pytest.approx(found.counts["count"][0])
    assert kind == "points"
    expected = found.points[["y_px", "x_px"]].to_numpy() - 0.5
    np.testing.assert_allclose(places, expected, atol=1e-3)
    assert len(shown["features"]["score"]) == len(places)
    more, _ = count_plane(pixels.astype(np.uint16) * 257, run)
    assert more == pytest.approx(cells)


def test_of_a_stack_the_plane_that_is_shown_is_counted():
    stack = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(displayed_plane(stack, rgb=False, step=(1, 2, 0, 0)), stack[1, 2])
    np.testing.assert_array_equal(
        displayed_plane(stack[0], rgb=False, step=(1, 2, 0, 0)), stack[0, 2]
    )
    colours = np.zeros((7, 4, 5, 3))
    assert displayed_plane(colours, rgb=True, step=(3, 0, 0)).shape == (4, 5, 3)
    assert displayed_plane(stack[0, 0], rgb=False, step=(0, 0)).shape == (4, 5)


@pytest.mark.parametrize("shape", [(0, 5), (4, 5, 2), (3, 4, 5, 6)])
def test_what_is_no_plane_is_one_sentence(shape):
    with pytest.raises(UserError, match="the shape"):
        count_plane(np.zeros(shape), "run")


class Layer:
    """What the widget uses of an image layer of napari."""

    def __init__(self, data, *, scale, translate, rgb=False, multiscale=False):
        self.data, self.rgb, self.multiscale = data, rgb, multiscale
        self.scale, self.translate = np.array(scale), np.array(translate)

    def world_to_data(self, point):
        return (np.array(point)[-len(self.scale) :] - self.translate) / self.scale


def test_the_sliders_of_a_viewer_stand_in_its_own_coordinates():
    stack = np.arange(5 * 4 * 3).reshape(5, 4, 3)
    layer = Layer(stack, scale=(2.0, 0.5, 0.5), translate=(1.0, 0, 0))
    np.testing.assert_array_equal(plane_in_sight(layer, (7.0, 0.0, 0.0)), stack[3])
    # A slider of another layer's fourth axis comes before.
    np.testing.assert_array_equal(plane_in_sight(layer, (9.0, 7.0, 0.0, 0.0)), stack[3])
    assert plane_in_sight(layer, None).shape == stack.shape  # refused, not the first without a word


def test_of_several_resolutions_the_finest_is_counted():
    levels = [np.ones((2, 8, 8)), np.zeros((2, 4, 4))]
    layer = Layer(levels, scale=(1, 1, 1), translate=(0, 0, 0), multiscale=True)
    assert plane_in_sight(layer, (1.0, 0.0, 0.0)).shape == (8, 8)
    colours = Layer(np.ones((6, 7, 3)), scale=(1, 1), translate=(0, 0), rgb=True)
    assert plane_in_sight(colours, (0.0, 0.0)).shape == (6, 7, 3)


def test_the_manifest_names_the_widget_that_is_there():
    manifest = yaml.safe_load(Path(cellbench.__file__).with_name("napari.yaml").read_text())
    (command,) = manifest["contributions"]["commands"]
    module, _, name = command["python_name"].partition(":")
    assert module == napari_widget.__name__
    assert getattr(napari_widget, name) is count_widget
    (widget,) = manifest["contributions"]["widgets"]
    assert widget["command"] == command["id"]


@pytest.mark.slow
@pytest.mark.skipif("DISPLAY" not in os.environ, reason="a viewer needs a display, such as Xvfb")
def test_points_appear_in_a_viewer(run, picture):
    napari = pytest.importorskip("napari")
    pixels, _ = picture
    viewer = napari.Viewer(show=False)
    try:
        image = viewer.add_image(pixels[..., :3] if pixels.ndim == 3 else pixels, name="a")
        image.scale = np.array([0.5, 0.5])
        widget = count_widget()
        viewer.window.add_dock_widget(widget)
        widget(image=image, run=run)
        (points,) = [layer for layer in viewer.layers if layer.name.startswith("a: ")]
        assert len(points.data) > 0
        np.testing.assert_array_equal(points.scale, [0.5, 0.5])
    finally:
        viewer.close()
