"""Claims about what `cellbench.count` is given: what cannot be used is one sentence."""

import math

import numpy as np
import pytest

from cellbench import count
from cellbench.cli.count import PROGRAMS
from cellbench.counting.count_options import check_number, check_range
from cellbench.counting.count_tables import CountTables
from cellbench.counting.point_exports import WRITERS
from cellbench.data.pixel_sizes import SCALES
from cellbench.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": "2"}, "--scale: a number of at least 0.05 and at most 20 is wanted"),
        ({"scale": math.nan}, "--scale"),
        ({"scale": True}, "--scale"),
        ({"scale": None}, "--scale"),
        ({"um_per_px": math.nan}, "--um-per-px: a number of at least 0.0001 and at most 1000"),
        ({"um_per_px": math.inf}, "--um-per-px"),
        ({"um_per_px": 1e-200}, "--um-per-px"),
        ({"um_per_px": 1e300}, "--um-per-px"),
        ({"range": (0, math.inf)}, "--range: two finite numbers"),
        ({"range": (-math.inf, 10)}, "--range"),
        ({"range": (1,)}, "--range"),
        ({"range": "09"}, "--range"),
        ({"range": (0, 5e-324)}, "--range 0 4.94066e-324 is empty"),
        ({"pictures": None}, "A path of a picture or a folder, or a list of them, is wanted"),
        ({"pictures": [None]}, "PICTURE: text is wanted here, not None"),
        ({"pictures": ""}, "PICTURE is empty"),
        ({"pictures": ["a.png", ""]}, "PICTURE is empty"),
        ({"out": ""}, "--out is empty"),
        ({"roi": ""}, "--roi is empty"),
        ({"run": ""}, "--with is empty"),
        ({"channel": 1}, "--channel: text is wanted here, not 1"),
        ({"also": "word"}, "--also: 'word' is none of napari"),
        ({"also": [3]}, "--also: 3 is none of napari"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_nothing_is_written(
    tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        count(**{"pictures": ".", **arguments})
    assert said in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers():
    assert check_number("--scale", np.float32(2), SCALES) == 2.0
    assert check_range(np.array([1, 9])) == (1.0, 9.0)


def test_a_whole_number_is_the_same_setting_as_a_fraction(tmp_path):
    CountTables(tmp_path, {"run_id": "a", "scale": 2}, {})
    (tmp_path / "counts.csv").write_text((tmp_path / "counts.csv").read_text() + "x\n")
    assert CountTables(tmp_path, {"run_id": "a", "scale": 2.0}, {}).done == {}


def test_the_command_offers_every_program_that_points_are_written_for():
    assert tuple(WRITERS) == PROGRAMS
