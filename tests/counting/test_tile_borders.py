"""Claims about cells that lie exactly on the border of two tiles."""

import numpy as np
import torch

from cellbench.counting.tiles import Tile, tile_axis
from cellbench.counting.trained_counter import TrainedCounter
from cellbench.models.counter import CellCounter
from cellbench.structures import Prediction


class BrightPixels(CellCounter):
    """Finds a cell at the upper left corner of each white px: at whole numbers, as borders are."""

    def infer(self, images):
        found = []
        for pixels in images.pixels:
            rows, columns = torch.nonzero(pixels[0] > 1, as_tuple=True)
            points = torch.stack([columns, rows], dim=1).float().numpy() / images.scale
            found.append(Prediction(float(len(points)), points, np.ones(len(points), np.float32)))
        return found


def test_a_cell_on_a_border_of_two_tiles_is_counted_once():
    """A cell at every whole number along both axes: wherever tiles meet, some lie there."""
    seen = []
    pixels = np.zeros((800, 3000, 3), dtype=np.uint8)
    pixels[400], pixels[:, 1500] = 255, 255
    counter = TrainedCounter(BrightPixels(size_multiple=1).eval(), (), 1.0, "float32")
    found = counter.count(pixels, progress=seen.append)
    assert len(seen) > 1, "the picture was seen whole"
    assert found.count == 3000 + 800 - 1
    assert len({tuple(point) for point in found.points.tolist()}) == len(found.points) == 3799


def test_an_axis_of_exactly_one_tile_is_one_tile():
    """Cut in two, its second tile would be all margin."""
    assert tile_axis(192, tile=192, margin=64) == [Tile(range(192), range(192))]
