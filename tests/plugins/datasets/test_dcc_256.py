"""DCC's converted copies have not been available to us: drawn ones, as users describe them."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from cellbench.config.compose import resolve
from cellbench.data.importing import import_set
from cellbench.data.splits import make_split
from cellbench.errors import UserError

h5py = pytest.importorskip("h5py")


def truth(index, side=48):
    """Cells of image `index`, as (row, column), far enough from each other to be told apart."""
    rng = np.random.default_rng(index)
    spots = [(r, c) for r in range(6, side, 12) for c in range(6, side, 12)]
    return sorted(spots[i] for i in rng.choice(len(spots), index % 7, replace=False))


def density(index, side=48):
    dots = np.zeros((side, side))
    for place in truth(index, side):
        dots[place] = 1
    return gaussian_filter(dots, 2.0).astype(np.float32)


def pixels(index, side=48):
    return np.random.default_rng(index).integers(0, 255, (side, side, 3), dtype=np.uint8)


def written(path, count=176, **changed):
    """A copy of the set in one file."""
    arrays = {
        "imgs": np.stack([pixels(i) for i in range(count)]),
        "counts": np.stack([density(i) for i in range(count)])[..., None],
    } | changed
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def test_pictures_and_cells_are_read_from_one_file(home, tmp_path):
    written(tmp_path / "DCC.hdf5")
    report = import_set("dcc-256", tmp_path)
    stored = report.stored
    assert report.images == 176
    for index in (0, 6, 175):
        sample = stored.sample(f"{index:03d}")
        found = sorted((round(y - 0.5), round(x - 0.5)) for x, y in sample.points.tolist())
        assert found == truth(index)
        np.testing.assert_array_equal(stored.pixels(f"{index:03d}"), pixels(index))
    split = make_split(stored)
    assert (len(split.train), len(split.val), len(split.test)) == (70, 30, 76)
    assert "Cells were placed where Gaussians add up to the density map. (176 images)" in (
        report.notes
    )


def test_it_has_a_config_and_no_simulator_stands_in():
    config = resolve("methods/dla", dataset="dcc-256")
    assert (config.data.set, config.data.radius_px) == ("dcc-256", 5.0)


def test_the_layout_of_pictures_and_densities_is_dcc(home, tmp_path):
    for part, indices in (("trainval", range(100)), ("test", range(100, 177))):
        for kind in ("images", "densities"):
            (tmp_path / part / kind).mkdir(parents=True)
        for index in indices:
            Image.fromarray(pixels(index)).save(tmp_path / part / "images" / f"{index}.png")
            with h5py.File(tmp_path / part / "densities" / f"{index}.h5", "w") as file:
                file["density"] = density(index)
    stored = import_set("dcc", tmp_path).stored
    assert len(stored) == 177
    assert stored.part("test-120") == "test"
    points = stored.sample("train-6").points
    assert sorted((round(y - 0.5), round(x - 0.5)) for x, y in points.tolist()) == truth(6)


def linked(path):
    with h5py.File(path, "w") as file:
        file["imgs"] = h5py.ExternalLink("/etc/passwd", "/")
        file["counts"] = np.zeros((2, 8, 8))


def stored_elsewhere(path):
    secret = path.with_name("secret.txt")
    secret.write_bytes(bytes(2 * 8 * 8 * 3))
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "imgs", (2, 8, 8, 3), np.uint8, external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )
        file["counts"] = np.zeros((2, 8, 8))


def virtual(path):
    layout = h5py.VirtualLayout((2, 8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "imgs", (2, 8, 8, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("imgs", layout)
        file["counts"] = np.zeros((2, 8, 8))


def bomb(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", (2, 60_000, 60_000, 3), np.uint8, compression="gzip")
        file.create_dataset("counts", (2, 60_000, 60_000), np.float32, compression="gzip")


def endless(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", (2**40, 8, 8, 3), np.uint8, chunks=(1, 8, 8, 3))
        file.create_dataset("counts", (2**40, 8, 8), np.float32, chunks=(1, 8, 8))


def empty(path):
    with h5py.File(path, "w") as file:
        file["imgs"] = h5py.Empty("u1")
        file["counts"] = np.zeros((2, 8, 8))


def texts(path):
    with h5py.File(path, "w") as file:
        file["imgs"] = np.full((2, 8, 8, 3), b"x")
        file["counts"] = np.zeros((2, 8, 8))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (linked, "no array 'imgs' of its own"),
        (stored_elsewhere, "lies in other files"),
        (virtual, "lies in other files"),
        (bomb, "at most 256 MB"),
        (texts, "not numbers"),
        (endless, "at most 10000 are read"),
        (empty, "is empty"),
        (
            lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200)),
            "cannot be read as HDF5",
        ),
        (lambda path: written(path, 2, counts=None), "no array 'counts' of its own"),
        (lambda path: written(path, 2, counts=np.zeros((3, 48, 48))), "are wanted"),
        (lambda path: written(path, 2, imgs=np.zeros((2, 48, 48, 3))), "pixels of 8 bits"),
        (lambda path: written(path, 2, counts=np.full((2, 48, 48), np.nan)), "map 0 holds numbers"),
        (lambda path: path.with_name("x.txt").write_text("x"), "no HDF5 file"),
    ],
)
def test_a_file_that_is_no_copy_is_refused_in_a_sentence(home, tmp_path, make, said):
    make(tmp_path / "DCC.hdf5")
    with pytest.raises(UserError, match=said) as caught:
        import_set("dcc-256", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_with_two_files_is_ambiguous(home, tmp_path):
    for name in ("a.hdf5", "b.h5"):
        written(tmp_path / name, 2)
    with pytest.raises(UserError, match="2 HDF5 files"):
        import_set("dcc-256", tmp_path)


def test_it_says_what_to_install_without_h5py(home, tmp_path, monkeypatch):
    written(tmp_path / "DCC.hdf5", 2)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'cellbench\[hdf5\]'"):
        import_set("dcc-256", tmp_path)
