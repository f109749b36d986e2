import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellbench.data.points import (
    PROGRAM_POINTS,
    WHOLE_NUMBERS,
    format_points,
    read_point_file,
)
from cellbench.errors import UserError

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def read_text(tmp_path, text):
    path = tmp_path / "p.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_point_file(path)


@settings(max_examples=200, deadline=None)
@given(points=arrays(np.float32, st.tuples(st.integers(0, 8), st.just(2)), elements=FINITE))
def test_written_points_come_back_exactly(tmp_path_factory, points):
    path = tmp_path_factory.mktemp("points") / "p.txt"
    path.write_bytes(format_points(points))
    read = read_point_file(path)
    assert read.points.dtype == np.float32
    assert read.points.shape == points.shape
    np.testing.assert_array_equal(read.points, points)
    assert read.notes == ()


def test_every_kind_of_float32_has_exact_digits():
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)][:10_000].reshape(-1, 2)
    text = format_points(values).decode()
    back = np.array([[float(v) for v in line.split()] for line in text.splitlines()])
    np.testing.assert_array_equal(back.astype(np.float32), values)


def test_written_files_are_short_and_never_taken_for_indices():
    assert format_points([[12.5, 3.0], [10.3, 0]]) == b"12.5 3.0\n10.3 0.0\n"
    assert format_points([]) == b""


def test_whole_numbers_are_pixel_indices_and_the_note_says_so(tmp_path):
    read = read_text(tmp_path, "3 4\n0 0\n")
    np.testing.assert_array_equal(read.points, [[3.5, 4.5], [0.5, 0.5]])
    assert read.notes == (WHOLE_NUMBERS,)


def test_one_float_makes_all_numbers_coordinates(tmp_path):
    read = read_text(tmp_path, "3 4\n0.25 0\n")
    np.testing.assert_array_equal(read.points, [[3, 4], [0.25, 0]])
    assert read.notes == ()


@pytest.mark.parametrize("text", ["", "\n\n", "# x y\n", "x y\n", "\ufeff"])
def test_no_lines_are_no_cells(tmp_path, text):
    read = read_text(tmp_path, text)
    assert read.points.shape == (0, 2)
    assert read.points.dtype == np.float32


@pytest.mark.parametrize(
    "text",
    [
        "1.5 2.5\n3.5 4.5",
        "1.5,2.5\r\n3.5,4.5\r\n",
        "1.5\t2.5\n\n3.5\t4.5\n",
        "1.5; 2.5\n3.5 ;4.5\n",
        "  1.5   2.5  \n 3.5 4.5 # a cell\n# the end\n",
        "X,Y\n1.5,2.5\n3.5,4.5\n",
        "y x\n2.5 1.5\n4.5 3.5\n",
        'index,"axis-0","axis-1",label\n0,2.0,1.0,1\n1,4,3,1\n',
        " \tArea\tX\tY\n1\t0\t1\t2\n2\t0\t3\t4\n",
        " ,X,Y,Counter\n1,1,2,0\n2,3.0,4.0,0\n",
        " \tArea\tX\tY\n1\t9\t1.5\t2.5\n2\t9\t3.5\t4.5\n",
        "\ufeffx,y\n1.5e0,2.5\n+3.5,.45e1\n",
    ],
)
def test_what_people_write_is_understood(tmp_path, text):
    np.testing.assert_array_equal(read_text(tmp_path, text).points, [[1.5, 2.5], [3.5, 4.5]])


def test_programs_that_number_pixels_are_shifted_by_half_a_pixel_and_a_note_says_so(tmp_path):
    napari = read_text(tmp_path, "index,axis-0,axis-1\n0,20.25,9.75\n")
    np.testing.assert_array_equal(napari.points, [[10.25, 20.75]])
    assert napari.notes == (PROGRAM_POINTS.format(program="napari"),)
    # a point where it was clicked, and the centroid of a particle of nine pixels
    imagej = read_text(tmp_path, " ,Area,X,Y\n1,0,9.75,20.25\n2,9,10.25,20.75\n")
    np.testing.assert_array_equal(imagej.points, [[10.25, 20.75]] * 2)
    assert imagej.notes == (PROGRAM_POINTS.format(program="ImageJ"),)
    plain = read_text(tmp_path, "x,y\n10.25,20.75\n")
    np.testing.assert_array_equal(plain.points, [[10.25, 20.75]])
    assert plain.notes == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 2\n3\n", 2),
        ("1 2\n\n3 4 5\n", 3),
        ("1.0 2.0\nx y\n", 2),
        ("1,5 2,5\n", 1),
        ("1 nan\n", 1),
        ("inf 2\n", 1),
        ("1_0 2\n", 1),
        ("x,y\n1,2\n1,2,3\n", 3),
        ("a,b\n1,2\n", 1),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path, text, line):
    with pytest.raises(UserError, match=rf"p\.txt, line {line}: ") as caught:
        read_text(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_bytes_are_no_text(tmp_path):
    with pytest.raises(UserError, match="is not text"):
        read_text(tmp_path, b"\x89PNG\xff\xfe")


def test_a_number_beyond_float32_is_refused(tmp_path):
    with (
        np.errstate(over="ignore"),
        pytest.raises(UserError, match="beyond any image"),
    ):
        read_text(tmp_path, "1e300 2.0\n")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_point_file(tmp_path / "none.txt")


def test_what_is_no_list_of_points_is_a_programming_error():
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        format_points(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        format_points([[np.nan, 1]])
