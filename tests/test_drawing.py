"""Pictures are checked by what a reader must find in them: place, colour, shape, number."""

import numpy as np
import pytest
from PIL import Image

from cellbench.drawing import contact_sheet, density_overlay, overlay
from cellbench.errors import UserError
from cellbench.metrics.localisation import match_points
from cellbench.structures import no_points

GREY = np.full((150, 150, 3), 128, np.uint8)


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def changed(picture: Image.Image, plain: Image.Image) -> np.ndarray:
    """Where two drawings of one size differ, (H, W) bool."""
    return (np.asarray(picture) != np.asarray(plain)).any(axis=2)


def drawn(pixels: np.ndarray = GREY, scale: float | None = None, **given) -> np.ndarray:
    """Where points leave marks on an image."""
    plain = overlay(pixels, legend=False, scale=scale)
    return changed(overlay(pixels, legend=False, scale=scale, **given), plain)


def test_an_image_without_points_is_shown_as_it_is():
    noise = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    picture = overlay(noise, scale=1, legend=False)
    assert np.array_equal(np.asarray(picture), noise)


@pytest.mark.parametrize("kind", ["truth", "predicted"])
@pytest.mark.parametrize("place", [(75.5, 20.5), (10.5, 140.5), (33.25, 71.75)])
def test_a_mark_is_centred_on_its_point_to_a_quarter_of_a_pixel(kind, place):
    mask = drawn(scale=5, **{kind: points(place)})
    y, x = np.nonzero(mask)
    # Pixel j covers [j, j + 1).
    centre = np.array([x.min() + x.max() + 1, y.min() + y.max() + 1]) / 2 / 5
    assert np.abs(centre - place).max() <= 0.2
    assert 5 <= np.ptp(x) <= 30


def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_bounded():
    assert overlay(GREY, legend=False).size == (750, 750)
    assert overlay(np.zeros((600, 600, 3), np.uint8), legend=False).size == (1200, 1200)
    assert overlay(np.zeros((20, 9000), np.uint8), legend=False).size == (4096, 9)
    assert overlay(np.zeros((1, 1), np.uint8)).width == 750


def test_hits_false_alarms_and_misses_differ_in_colour_and_in_shape():
    truth, predicted = points((30, 75), (120, 75)), points((30.5, 75), (75, 75))
    picture = overlay(GREY, truth=truth, predicted=predicted, matches=([0], [0]), legend=False)
    plain = overlay(GREY, legend=False)
    mask = changed(picture, plain)
    pixels = np.asarray(picture).astype(int)
    seen = []
    for x in (30.5, 75, 120):
        left = int(x * 5) - 20
        box = (slice(355, 396), slice(left, left + 41))
        colours, numbers = np.unique(pixels[box][mask[box]], axis=0, return_counts=True)
        vivid = np.ptp(colours, axis=1) > 60
        seen.append((tuple(colours[vivid][numbers[vivid].argmax()]), mask[box]))
    (hit, ring), (false, triangle), (miss, cross) = seen
    assert hit[2] > 200 > hit[0]  # blue
    assert false[0] > 200
    assert 140 < false[1] < 190  # orange
    assert miss[0] > 200
    assert miss[1] < 110  # vermilion
    for one, other in ((ring, triangle), (ring, cross), (triangle, cross)):
        assert (one ^ other).sum() > 0.3 * max(one.sum(), other.sum())
    # All else stays as it was.
    assert mask.sum() == ring.sum() + triangle.sum() + cross.sum()


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_every_mark_shows_on_every_ground(level):
    ground = np.full((150, 150, 3), level, np.uint8)
    place = points((75, 75))
    for given in (
        {"truth": place},
        {"predicted": place},
        {"truth": no_points(), "predicted": place, "matches": ([], [])},
        {"truth": place, "predicted": no_points(), "matches": ([], [])},
    ):
        picture = np.asarray(overlay(ground, legend=False, **given)).astype(int)
        assert (np.abs(picture - level).max(axis=2) > 60).sum() >= 40


def test_rows_of_predictions_and_of_cells_are_not_confused():
    # Two hits out of order: prediction 2 is cell 0, prediction 0 is cell 1; cell 2 is missed.
    truth = points((20, 20), (130, 20), (20, 130))
    predicted = points((130, 20), (75, 75), (20, 20))
    picture = overlay(
        GREY, truth=truth, predicted=predicted, matches=match_points(predicted, truth, 4)
    )
    red, green, blue = np.moveaxis(np.asarray(picture).astype(int)[:750], 2, 0)
    y, x = np.nonzero((red > 220) & (green < 110) & (blue < 60))
    assert np.hypot(x / 5 - 20, y / 5 - 130).max() < 5
    y, x = np.nonzero((red < 110) & (blue > 210))
    assert (y < 200).all()
    assert {bool(side) for side in x > 375} == {False, True}


def test_marks_are_smooth():
    levels = np.unique(np.asarray(overlay(GREY, truth=points((75, 75)), legend=False)))
    assert len(levels) > 10


def test_marks_grow_smaller_where_cells_are_many():
    grid = np.stack(np.meshgrid(*[np.arange(3, 150, 6)] * 2), axis=-1).reshape(-1, 2)
    assert drawn(truth=grid.astype(np.float32)).mean() < 0.5


def test_points_at_the_border_outside_and_not_finite_do_no_harm():
    odd = points((0, 0), (150, 150), (-400, 75), (1e30, 5), (np.nan, 5), (5, np.inf))
    mask = drawn(truth=odd)
    assert mask[:10, :10].any()
    assert mask[-10:, -10:].any()
    assert not mask[50:-50].any()


def test_the_legend_counts(monkeypatch):
    said = []
    original = overlay.__globals__["_with_legend"]

    def listening(base, legend, caption):
        said.append(([text for _, text in legend], caption))
        return original(base, legend, caption)

    monkeypatch.setitem(overlay.__globals__, "_with_legend", listening)
    three, two = points((1, 1), (9, 9), (50, 50)), points((1, 1), (80, 80))
    overlay(GREY, truth=three, predicted=two, matches=match_points(two, three, 4), caption="a")
    overlay(GREY, truth=three)
    overlay(GREY, truth=three, predicted=no_points(), matches=([], []))
    assert said == [
        (["1 found", "1 false", "2 missed"], "a"),
        (["3 annotated"], None),
        (["0 found", "0 false", "3 missed"], None),
    ]


def test_the_legend_lies_below_the_image_and_never_on_it():
    plain = overlay(GREY, truth=points((75, 75)), legend=False)
    legend = overlay(GREY, truth=points((75, 75)), caption="x" * 500)
    assert legend.width == plain.width
    assert legend.height > plain.height
    assert np.array_equal(np.asarray(legend)[: plain.height], np.asarray(plain))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.float32), np.zeros(5, np.uint8)],
)
def test_what_is_no_image_is_one_sentence(pixels):
    with pytest.raises(UserError, match="uint8 pixels, not"):
        overlay(pixels)


def test_a_density_is_shown_where_it_lies():
    density = np.zeros((30, 30), np.float32)
    density[20:25, 5:10] = 0.4
    mask = changed(density_overlay(GREY, density), density_overlay(GREY, np.zeros((30, 30))))[:750]
    y, x = np.nonzero(mask)
    assert 100 <= x.min() < 130
    assert 240 < x.max() <= 275
    assert 475 <= y.min() < 505
    assert 615 < y.max() <= 650
    broken = np.full((3, 3), np.nan, np.float32)
    assert density_overlay(GREY, broken).width == 750


def tile(width: int, height: int, colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def test_a_sheet_shows_every_tile_once_in_reading_order():
    colours = [(200, 10 * i, 0) for i in range(5)]
    sheet = contact_sheet([tile(100, 80, c) for c in colours], [f"{i}\nid" for i in range(5)], 3)
    pixels = np.asarray(sheet)
    centres = []
    for colour in colours:
        y, x = np.nonzero((pixels == colour).all(axis=2))
        assert len(x) == 100 * 80
        centres.append((y.mean(), x.mean()))
    assert centres == sorted(centres)
    assert len({row for row, _ in centres}) == 2


def test_tiles_of_different_sizes_do_not_overlap():
    sizes = [(100, 80), (30, 120), (60, 10)]
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    tiles = [tile(*size, colour) for size, colour in zip(sizes, colours, strict=True)]
    pixels = np.asarray(contact_sheet(tiles, ["a", "b", "c"], 10))
    for (width, height), colour in zip(sizes, colours, strict=True):
        assert (pixels == colour).all(axis=2).sum() == width * height


def test_the_memory_of_a_sheet_is_bounded():
    big = tile(1500, 1500, (9, 9, 9))
    sheet = contact_sheet([big] * 25, ["big"] * 25, 5)
    assert sheet.width * sheet.height < 30_000_000


@pytest.mark.parametrize(("number", "columns"), [(0, 3), (2, 3), (1, 0)])
def test_a_sheet_of_nothing_is_one_sentence(number, columns):
    with pytest.raises(UserError, match="one caption for each tile"):
        contact_sheet([GREY] * number, ["only one"], columns)
