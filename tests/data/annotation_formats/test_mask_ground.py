"""Claims about masks of two values: cells are counted and not what lies between them."""

import numpy as np
import pytest
from PIL import Image
from skimage.draw import disk

from cellbench.data.annotation_formats.annotation_pictures import read_annotation_picture
from cellbench.errors import UserError


def tiles(inner=18, edge=20, number=10):
    """Square cells with walls between them."""
    mask = np.zeros((edge * number, edge * number), np.uint8)
    for y in range(number):
        for x in range(number):
            mask[y * edge + 1 : y * edge + 1 + inner, x * edge + 1 : x * edge + 1 + inner] = 255
    return mask


def discs(radius, step=20, number=10):
    mask = np.zeros((step * number, step * number), np.uint8)
    for y in range(number):
        for x in range(number):
            mask[disk((y * step + step / 2 - 0.5, x * step + step / 2 - 0.5), radius)] = 255
    return mask


def one_large():
    mask = np.zeros((100, 100), np.uint8)
    mask[disk((50, 50), 45)] = 255
    return mask


Y, X = np.indices((200, 200))
COUNTED = {
    "cells with thin walls": (tiles(), 100),
    "cells with thin walls, as labels of one number": (tiles() // 255, 100),
    "cells with thick walls": (tiles(12), 100),
    "discs that nearly touch": (discs(9.2), 100),
    "sparse discs": (discs(6), 100),
    "sparse discs, black on white": (255 - discs(6), 100),
    "discs that are nearly half of it, black on white": (255 - discs(7), 100),
    "hollow cells with thin walls": (tiles() * ~((Y % 20 > 5) & (Y % 20 < 14) & (X % 20 > 6)), 100),
    "one large cell": (one_large(), 1),
    "one black cell on white": (255 - discs(6, 60, 1), 1),
    "colours": (np.stack([tiles(), tiles() * 0, tiles() * 0], axis=-1), 100),
}


@pytest.mark.parametrize("case", COUNTED)
def test_cells_are_counted_whichever_value_they_have(tmp_path, case):
    pixels, cells = COUNTED[case]
    Image.fromarray(pixels).save(tmp_path / "a_mask.png")
    (found,) = read_annotation_picture(tmp_path / "a_mask.png")
    assert len(found.points) == cells
    on = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    x, y = found.points.astype(int).T
    assert (on[y, x] == on[y[0], x[0]]).all()
    assert (on[y, x] > 0).all() == ("black" not in case)


@pytest.mark.parametrize(
    "pixels", [discs(9.6), discs(10.2), 255 - tiles()], ids=["touching", "overlapping", "walls"]
)
def test_a_mask_whose_ground_is_unknown_is_refused_in_one_sentence(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a_mask.png")
    with pytest.raises(
        UserError, match="either may be the ground; save it with 0 between"
    ) as error:
        read_annotation_picture(tmp_path / "a_mask.png")
    assert "a_mask.png has " in str(error.value)
    assert "\n" not in str(error.value)
