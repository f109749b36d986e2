"""ImageJ does not state the unit of its tables: the reading is taken that lies on the cells."""

import numpy as np
import pytest
from annotation_samples import copy_pictures, nuclei_pictures

from cellbench.data.own_sets.own_import import plan_import
from cellbench.errors import UserError


def results(folder, edge_um):
    """Pictures with ImageJ's Results.csv; their cells."""
    cells = copy_pictures(nuclei_pictures(4), folder)
    lines = [
        f"{name}.png,0,{(x - 0.5) * edge_um:.3f},{(y - 0.5) * edge_um:.3f},0"
        for name, points in cells.items()
        for x, y in points
    ]
    (folder / "Results.csv").write_text("\n".join(["Label,Area,X,Y,Counter", *lines]) + "\n")
    return cells


def check(found, cells):
    for picture in found.pictures:
        np.testing.assert_allclose(picture.points, cells[picture.image_id], atol=0.01)


@pytest.mark.parametrize("edge_um", [0.9, 0.95, 1.04])
def test_a_size_near_one_does_not_hide_micrometres(edge_um, tmp_path, home):
    cells = results(tmp_path, edge_um)
    check(plan_import("mine", tmp_path, um_per_px=edge_um), cells)


@pytest.mark.parametrize("edge_um", [0.9, 1.04])
def test_points_in_px_stay_where_the_size_of_a_pixel_is_given(edge_um, tmp_path, home):
    cells = results(tmp_path, 1.0)
    found = plan_import("mine", tmp_path, um_per_px=edge_um)
    check(found, cells)
    assert any("taken as px" in note for note in found.notes)


@pytest.mark.parametrize("edge_um", [0.65, 0.9])
def test_points_that_lie_on_cells_in_micrometres_alone_are_not_taken_as_px(edge_um, tmp_path, home):
    results(tmp_path, edge_um)
    with pytest.raises(UserError, match=r"Results\.csv lie on what .* --um-per-px") as refused:
        plan_import("mine", tmp_path)
    stated = float(str(refused.value).split("divided by ")[1].split(",")[0])
    assert stated == pytest.approx(edge_um, rel=0.02)


def test_points_in_px_need_no_size_of_a_pixel(tmp_path, home):
    cells = results(tmp_path, 1.0)
    check(plan_import("mine", tmp_path), cells)
