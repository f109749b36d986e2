"""The eight views of a picture."""

import pytest
import torch

from cellbench.models.views import VIEWS


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("size", [(6, 4), (3, 7), (1, 1)])
def test_a_point_is_found_again_where_its_pixel_was(view, size):
    width, height = size
    pixels = torch.arange(width * height, dtype=torch.float32).view(1, 1, height, width)
    seen = view.see(pixels)[0, 0]
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in seen.shape), indexing="ij")
    points = torch.stack([columns, rows], dim=-1).flatten(0, 1) + 0.5
    back = view.undo(points, size)
    found = pixels[0, 0, back[:, 1].long(), back[:, 0].long()]
    assert found.tolist() == seen.flatten().tolist()
    assert ((back > 0) & (back < torch.tensor([width, height]))).all()


def test_no_view_comes_twice():
    pixels = torch.arange(12.0).view(1, 1, 3, 4)
    assert len({str(view.see(pixels).tolist()) for view in VIEWS}) == 8
