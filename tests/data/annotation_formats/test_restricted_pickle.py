"""A Cellpose file runs no code, and takes no more memory or time than masks do."""

import io
import os
import pickle
import sys

import numpy as np
import pytest

from cellbench.data.annotation_formats import restricted_pickle
from cellbench.data.annotation_formats.known_formats import format_of
from cellbench.data.annotation_formats.restricted_pickle import masks_in_child, unpickled_masks
from cellbench.errors import UserError

MASKS = np.array([[0, 1, 1], [2, 0, 0]], np.uint16)


def saved(content):
    stream = io.BytesIO()
    np.save(stream, np.array(content, dtype=object), allow_pickle=True)
    return stream.getvalue()


class Call:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_masks_come_back_with_whatever_plain_values_lie_beside_them():
    content = {
        "masks": MASKS, "flows": [np.zeros((2, 3), np.float32), None], "filename": "a.png",
        "diameter": np.float64(3.5), "ismanual": np.ones(2, bool), "nested": {"a": [1, (2.5,)]},
    }  # fmt: skip
    np.testing.assert_array_equal(unpickled_masks(saved(content)), MASKS)
    np.testing.assert_array_equal(masks_in_child(saved(content)), MASKS)


@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "touch ran"), Call(eval, "open('ran', 'w')"), Call(exec, "1"),
        Call(getattr, "a", "upper"), Call(np.load, "x.npy"), Call(np.memmap, "ran", "u1", "w+"),
        Call(bytearray, 10), Call(pickle.loads, b"N."),
    ],
    ids=lambda call: call.call[0].__name__,
)  # fmt: skip
def test_nothing_but_arrays_is_made(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="may be a program"):
        unpickled_masks(saved({"masks": MASKS, "x": call}))
    assert not (tmp_path / "ran").exists()


def test_a_refusal_is_one_sentence_that_names_the_file(tmp_path):
    file = tmp_path / "a_seg.npy"
    for content in (saved({"masks": MASKS, "x": Call(os.system, "true")}), saved([1]), b"junk"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"a_seg\.npy") as refusal:
            format_of(file).read(file)
        assert "\n" not in str(refusal.value)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_memory_and_time_of_the_process_are_limited(monkeypatch):
    # 40 bytes that ask for 16 GB: a dtype and a shape without the numbers.
    many = Call(np.ndarray, (2**31,), np.dtype("f8"))
    with pytest.raises(ValueError, match=r"memory|many|allocate"):
        masks_in_child(saved({"masks": many}))
    monkeypatch.setattr(restricted_pickle, "MOST_SECONDS", 0.01)
    with pytest.raises(ValueError, match="too long"):
        masks_in_child(saved({"masks": MASKS}))
