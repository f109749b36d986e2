"""napari widget that counts the cells of an image layer with a trained run.

napari finds it by `napari.yaml` (entry point `napari.manifest`). Nothing of napari or torch is
imported before the widget is opened.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.point_conventions import NAPARI
from cellbench.data.reader import DEFAULT_READ_OPTIONS, finite, mapped
from cellbench.errors import UserError

if TYPE_CHECKING:
    from cellbench.counting.trained_counter import TrainedCounter

Layer = tuple[NDArray[np.float64], dict[str, Any], str]
"""Data, properties and kind of a layer, as napari takes it."""


def count_plane(
    plane: NDArray[Any], run: str | Path, *, scale: float = 1.0, name: str = "image"
) -> tuple[float, Layer | None]:
    """Count the cells of a plane as `cellbench count` counts those of an image file.

    Args:
        plane: (H, W) numbers of any type, or (H, W, 3) or (H, W, 4) colours.
        run: folder, record or id of a finished run.
        scale: 2 where cells are half as wide, in px, as those the run was trained on.
        name: of the image, for the layer's name and messages.

    Returns:
        The number of cells; a points layer, (N, 2) (row, column) with the scores as a feature, or
        None for a method without points.

    Raises:
        UserError: the plane is not an image, or there is no such run.
    """
    values = np.asarray(plane)
    if values.ndim == 3 and values.shape[2] == 4:
        values = values[:, :, :3]
    if values.size == 0 or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)):
        raise UserError(f"{name} has the shape {values.shape}; a plane of it is counted.")
    pixels, _, _ = mapped(finite(values, name)[0], DEFAULT_READ_OPTIONS)
    found = _counter(str(run)).count(pixels, scale=scale, name=name)
    if found.points is None:
        return found.count, None
    places = found.points[:, ::-1].astype(np.float64) - NAPARI.shift_px
    features = {} if found.scores is None else {"score": np.asarray(found.scores)}
    shown = {
        "name": f"{name}: {found.count:.1f} cells", "features": features, "size": 8,
        "face_color": "transparent", "border_color": "cyan",
    }  # fmt: skip
    return found.count, (places, shown, "points")


def displayed_plane(data: NDArray[Any], *, rgb: bool, step: tuple[int, ...]) -> NDArray[Any]:
    """Return the plane of an image layer that a viewer shows.

    Args:
        data: (..., H, W), or (..., H, W, 3 or 4) with `rgb`.
        rgb: whether the last axis is of colours.
        step: index on each axis of the viewer, of which the last ones are the layer's.
    """
    leading = data.ndim - (3 if rgb else 2)
    if leading == 0:
        return data
    axes = data.ndim - (1 if rgb else 0)
    steps = tuple(step)[-axes:][:leading]
    return data[tuple(int(np.clip(at, 0, n - 1)) for at, n in zip(steps, data.shape, strict=False))]


def plane_in_sight(image: Any, point: tuple[float, ...] | None) -> NDArray[Any]:
    """Load the plane of a napari layer that its viewer shows.

    Args:
        image: the layer; the finest resolution is used.
        point: position of the viewer's sliders in world coordinates, which the layer converts to
            plane indices by its scale and translation; None without a viewer: the whole layer is
            returned.
    """
    data = image.data[0] if image.multiscale else image.data
    step = () if point is None else tuple(round(float(at)) for at in image.world_to_data(point))
    # One plane alone is read: data may be larger than memory.
    return np.asarray(displayed_plane(data, rgb=image.rgb, step=step))


@lru_cache(maxsize=2)
def _counter(run: str) -> "TrainedCounter":
    """Load a run's method; cached, so that the next layer does not load it again."""
    from cellbench.counting.trained_counter import load_counter
    from cellbench.records.trained_runs import find_trained

    return load_counter(find_trained(run, None))


def count_widget() -> Any:
    """Build the widget: an image layer, a run, and a button that adds a points layer."""
    import napari.layers
    import napari.types
    from magicgui import magicgui
    from napari import current_viewer
    from napari.utils.notifications import show_info

    @magicgui(call_button="Count", run={"mode": "d", "label": "run (folder)"})
    def count(
        image: napari.layers.Image, run: Path, scale: float = 1.0
    ) -> list[napari.types.LayerDataTuple]:
        viewer = current_viewer()
        plane = plane_in_sight(image, None if viewer is None else tuple(viewer.dims.point))
        try:
            cells, layer = count_plane(plane, run, scale=scale, name=image.name)
        except UserError as error:
            show_info(str(error))
            return []
        show_info(f"{cells:.1f} cells in {image.name}.")
        if layer is None:
            return []
        places, shown, kind = layer
        # Points are drawn over the image, with its scale and translation.
        shown |= {"scale": image.scale[-2:], "translate": image.translate[-2:]}
        return [(places, shown, kind)]

    return count
