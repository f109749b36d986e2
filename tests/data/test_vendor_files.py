"""Claims about files of microscopes: read where their packages are, else named with them."""

import sys

import numpy as np
import pytest
from containers import byte_scene

from cellbench.data.planes import PlaneChoice
from cellbench.data.reader import ReadOptions, read_whole
from cellbench.errors import UserError


def test_what_reads_it_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    path = tmp_path / "a.czi"
    path.write_bytes(b"ZISRAWFILE" + bytes(100))
    with pytest.raises(UserError, match=r"is Zeiss CZI; pip install 'cellbench\[czi\]' reads it"):
        read_whole(path)


def test_channels_of_a_czi_are_named_as_those_of_a_tiff(tmp_path):
    pytest.importorskip("bioio_czi")
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as writer:
        for channel, plane in enumerate((np.full_like(byte_scene(), 30), byte_scene())):
            writer.write(data=plane[:, :, None], plane={"C": channel, "Z": 0, "T": 0})
    with pytest.raises(UserError, match=r"2 channels .* name what is counted with --channel"):
        read_whole(path)
    read = read_whole(path, ReadOptions(PlaneChoice(channel="2")))
    np.testing.assert_array_equal(read.pixels[:, :, 0], byte_scene())


def test_a_damaged_file_is_one_sentence(tmp_path):
    pytest.importorskip("bioio_czi")
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    with pytest.raises(UserError, match=r"a\.czi is damaged") as error:
        read_whole(tmp_path / "a.czi")
    assert "\n" not in str(error.value)
