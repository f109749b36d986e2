"""Claims about the viewer's server: what it answers, and to whom."""

import csv
import http.client
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from counted_samples import write_counts
from PIL import Image

from cellbench.api.viewer import view
from cellbench.cli.main import main
from cellbench.counting.corrections import CorrectionLog, annotators_of
from cellbench.counting.count_rows import shown_name
from cellbench.counting.counted_folder import CountedFolder, CountedPicture, read_counted
from cellbench.counting.picture_tiles import TILE_PX, PictureTiles
from cellbench.counting.regions_file import Region
from cellbench.counting.view_server import ViewServer
from cellbench.counting.view_session import ViewSession
from cellbench.counting.written_files import is_table
from cellbench.errors import UserError
from cellbench.files.writing import sha256_file

SIZE = (1300, 700)


@pytest.fixture
def counts(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    (tmp_path / "secret.txt").write_text("secret")
    places = np.array([[10.25, 20.5], [600.0, 300.0], [650.5, 310.25]])
    return write_counts(tmp_path / "counts", {path: (places, [0.4, 0.6, 0.9])})


@pytest.fixture
def server(counts):
    with ViewServer(ViewSession(read_counted(counts))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, *, token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    token = server.token if token is None else token
    data = None if body is None else json.dumps(body)
    sent = {"Content-Type": "application/json"} | headers
    connection.request(method, f"/{token}/{path}", body=data, headers=sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_a_change_is_on_disk_when_it_is_answered(server, counts):
    _, content = ask(server, "POST", "change/0", [["added", 5, 6], ["removed", 600.0, 300.0]])
    answer = json.loads(content)
    assert answer["picture"]["kept"] == [1, 0, 1]
    assert answer["picture"]["counts"]["corrected"] == 3
    assert answer["overview"]["mae"] == 0
    name = answer["overview"]["pictures"][0]["name"]
    assert len(CorrectionLog.open(counts).changes[name]) == 2
    _, content = ask(server, "POST", "undo/0", None or 0)
    assert json.loads(content)["picture"]["counts"]["corrected"] == 3.0
    assert CorrectionLog.open(counts).changes == {}


def test_densities_and_regions_count_what_is_left(server, counts):
    corners = [[500, 200], [700, 200], [700, 400], [500, 400]]
    ask(server, "POST", "change/0", [["removed", 600.0, 300.0]])
    _, content = ask(server, "POST", "regions/0", {"added": [{"name": "r", "corners": corners}]})
    picture = json.loads(content)["picture"]
    (region,) = picture["regions"]
    assert (region["cells"], region["method"], region["area_px"]) == (1, 2, 40_000)
    assert region["per_mm2"] == pytest.approx(1 / (40_000 * 0.25e-6))
    area_mm2 = SIZE[0] * SIZE[1] * 0.25e-6
    assert picture["counts"]["corrected_per_mm2"] == pytest.approx(2 / area_mm2)
    assert json.loads((counts / "regions.json").read_text())


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_corrected_counts_are_a_table_after_every_change(server, counts):
    file = counts / "counts-corrected.csv"
    server.session.write_tables()
    assert not file.exists()  # nobody has corrected anything
    assert not json.loads(ask(server, "GET", "overview")[1])["table"]
    changes = [["added", 5, 6], ["added", 7, 8], ["removed", 600.0, 300.0]]
    _, content = ask(server, "POST", "change/0", changes)
    assert json.loads(content)["overview"]["table"] == file.name
    (line,) = table(file)
    (method,) = table(counts / "counts.csv")
    assert {key: line[key] for key in ("image", "width_px", "height_px", "sha256")} == {
        key: method[key] for key in ("image", "width_px", "height_px", "sha256")
    }
    assert (line["count"], line["method_count"], line["checked"]) == ("4", "3", "yes")
    area_mm2 = SIZE[0] * SIZE[1] * 0.25e-6
    assert float(line["per_mm2"]) == pytest.approx(4 / area_mm2, rel=1e-9)
    assert float(line["method_per_mm2"]) == pytest.approx(3 / area_mm2, rel=1e-9)
    ask(server, "POST", "undo/0", 0)
    (line,) = table(file)
    assert (line["count"], line["checked"]) == ("3", "no")


def test_drawn_regions_are_a_table_that_follows_the_changes(server, counts):
    file = counts / "regions-corrected.csv"
    corners = [[500, 200], [700, 200], [700, 400], [500, 400]]
    region = {"name": "=edge", "corners": corners}
    ask(server, "POST", "regions/0", {"added": [region]})
    (line,) = table(file)
    assert (line["region"], line["count"], line["method_count"]) == ("'=edge", "2", "2")
    assert line["area_px"] == "40000"
    ask(server, "POST", "change/0", [["removed", 600.0, 300.0]])
    (line,) = table(file)
    assert (line["count"], line["method_count"]) == ("1", "2")
    assert float(line["per_mm2"]) == pytest.approx(1 / (40_000 * 0.25e-6))
    ask(server, "POST", "regions/0", {"removed": [region]})
    assert table(file) == []


def test_a_change_stands_where_its_tables_cannot_be_written(server, counts):
    """A table may be open in a spreadsheet, or the disk full: a second click would add a second."""
    file = counts / "counts-corrected.csv"
    file.mkdir()
    answer, content = ask(server, "POST", "change/0", [["added", 5, 6]])
    seen = json.loads(content)
    assert answer.status == 200
    assert seen["picture"]["added"] == [[5, 6]]
    assert seen["overview"]["unwritten"].startswith("Your changes are kept.")
    assert file.name in seen["overview"]["unwritten"]
    assert seen["overview"]["table"] == ""
    said = []
    display = SimpleNamespace(say=said.append)
    view(counts, display=display, ready=lambda server: setattr(server, "serve_forever", int))
    assert said == [seen["overview"]["unwritten"]]
    file.rmdir()
    _, content = ask(server, "POST", "change/0", [["added", 7, 8]])
    assert json.loads(content)["overview"]["unwritten"] == ""
    assert [line["count"] for line in table(file)] == ["5"]


def test_a_change_measures_no_region_of_another_picture_anew(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(path)
    counts = write_counts(tmp_path / "counts", {p: (np.array([[5.0, 5.0]]), [0.5]) for p in paths})
    session = ViewSession(read_counted(counts))
    square = {"name": "r", "corners": [[0, 0], [20, 0], [20, 20], [0, 20]]}
    for index in (0, 1):
        session.change_regions(index, {"added": [square]})
    measured = []
    holds = Region.holds
    monkeypatch.setattr(Region, "holds", lambda *given: measured.append(1) or holds(*given))
    session.change(0, [["added", 6, 6]])
    assert [line["count"] for line in table(counts / "regions-corrected.csv")] == ["2", "1"]
    assert len(measured) == 2  # of one region: the cells after the changes, and the method's
    session.change_regions(1, {"removed": [square]})
    assert [line["count"] for line in table(counts / "regions-corrected.csv")] == ["2"]


def test_tables_keep_the_order_of_the_count_whatever_is_shown_first(tmp_path):
    """People lay the columns of two tables side by side."""
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path in paths:
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(path)
    counts = write_counts(tmp_path / "counts", {p: (np.array([[5.0, 5.0]]), [0.5]) for p in paths})
    counted = read_counted(counts)
    shown = replace(counted, pictures=counted.pictures[::-1])
    session = ViewSession(shown, ordered_by="use", table=counted)
    session.change(0, [["added", 6, 6]])
    session.change_regions(2, {"added": [{"name": "r", "corners": [[0, 0], [20, 0], [20, 20]]}]})
    session.change_regions(0, {"added": [{"name": "r", "corners": [[0, 0], [20, 0], [20, 20]]}]})
    lines = table(counts / "counts-corrected.csv")
    method = table(counts / "counts.csv")
    assert [line["image"] for line in lines] == [line["image"] for line in method]
    assert [line["count"] for line in lines] == ["1", "1", "2"]
    regions = table(counts / "regions-corrected.csv")
    assert [line["image"] for line in regions] == [method[0]["image"], method[2]["image"]]


def test_a_method_without_places_has_no_number_of_cells_of_a_region(counts):
    counted = read_counted(counts)
    picture = replace(counted.pictures[0], points=None, scores=np.zeros(0, np.float32))
    session = ViewSession(replace(counted, pictures=(picture,)))
    square = {"name": "r", "corners": [[0, 0], [20, 0], [20, 20], [0, 20]]}
    session.change_regions(0, {"added": [square]})
    (line,) = table(counts / "regions-corrected.csv")
    assert (line["count"], line["per_mm2"], line["method_count"]) == ("", "", "")
    session.change(0, [["added", 5, 6]])
    (line,) = table(counts / "regions-corrected.csv")
    assert (line["count"], line["method_count"]) == ("1", "")


def test_each_person_has_tables_and_a_viewer_makes_them_anew(counts):
    CorrectionLog.open(counts, "anna").add(read_counted(counts).pictures[0].name, [("added", 1, 2)])
    view(counts, annotator="anna", ready=lambda server: setattr(server, "serve_forever", int))
    assert [line["count"] for line in table(counts / "counts-corrected-anna.csv")] == ["4"]
    assert not (counts / "counts-corrected.csv").exists()
    assert annotators_of(counts) == ["anna"]
    assert all(is_table(path) for path in counts.iterdir() if path.name[0] != ".")


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "overview", {"token": "x"}),
        ("GET", "overview", {"token": ""}),
        ("GET", "overview", {"Host": "evil.example"}),
        ("GET", "overview", {"Host": "127.0.0.1:1"}),
        ("POST", "change/0", {"body": [["added", 1, 1]], "token": "x"}),
        ("POST", "change/0", {"body": [["added", 1, 1]], "Origin": "http://evil.example"}),
        ("POST", "change/0", {"body": [["added", 1, 1]], "Content-Type": "text/plain"}),
        ("GET", "../secret.txt", {}),
        ("GET", "%2e%2e/secret.txt", {}),
        ("GET", "view_server.py", {}),
        ("GET", "tile/0/0/0/%2e", {}),
        ("GET", "picture/-1", {}),
        ("POST", "overview", {"body": 1}),
    ],
)
def test_what_is_not_the_viewer_s_gets_nothing(server, counts, method, path, options):
    answer, content = ask(server, method, path, **options)
    assert answer.status == 404
    assert content == b""
    assert not (counts / "corrected.csv").exists()


@pytest.mark.parametrize(
    "body",
    [{}, [["moved", 1, 1]], [["added", "1", 1]], [["added", 1e9, 1]], [["added", True]], [5]],
)
def test_what_is_no_change_is_refused_with_a_sentence(server, counts, body):
    answer, content = ask(server, "POST", "change/0", body)
    assert answer.status == 400
    assert json.loads(content)["error"].endswith(".")
    assert not (counts / "corrected.csv").exists()


def test_tiles_are_the_picture_and_its_means(server, tmp_path):
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    answer, content = ask(server, "GET", "tile/0/0/1/0")
    assert answer.getheader("Content-Type") == "image/png"
    tile = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(tile, pixels[:TILE_PX, TILE_PX : 2 * TILE_PX])
    _, content = ask(server, "GET", "tile/0/1/0/0")
    half = np.asarray(Image.open(io.BytesIO(content)), dtype=np.float64)
    mean = pixels[:700, :1024].reshape(350, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - mean).max() <= 0.51
    assert ask(server, "GET", "tile/0/0/3/0")[0].status == 400


def test_coarse_tiles_are_cut_from_one_small_copy(tmp_path):
    path = tmp_path / "b.png"
    Image.fromarray(np.full((4500, 300, 3), 77, np.uint8)).save(path)
    tiles = PictureTiles(path, sha256=sha256_file(path))
    tile = np.asarray(Image.open(io.BytesIO(tiles.tile(4, 0, 0))))
    assert tile.shape == (282, 19, 3)
    assert (tile == 77).all()


def test_a_picture_that_has_changed_is_not_shown(server, tmp_path):
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    answer, content = ask(server, "GET", "tile/0/0/0/0")
    assert answer.status == 400
    assert "has changed since it was counted" in json.loads(content)["error"]


def test_a_folder_without_counts_is_named(tmp_path):
    with pytest.raises(UserError, match=r"counts\.csv cannot be read"):
        read_counted(tmp_path)
    (tmp_path / "counts.csv").write_text("image,cells\na,1\n")
    with pytest.raises(UserError, match="no column 'count'"):
        read_counted(tmp_path)


@pytest.mark.parametrize("pictures", ["nosuch", "counts.csv", ""])
def test_a_folder_of_pictures_that_is_not_there_opens_no_server(counts, pictures):
    place = counts / pictures if pictures else ""
    with pytest.raises(UserError, match=r"There is no folder .*with --pictures\.$"):
        view(counts, pictures=place, ready=lambda server: pytest.fail("it was started"))


@pytest.mark.parametrize("name", ["'q'.png", "-a.png", "a.png"])
def test_a_moved_picture_is_found_whatever_its_name_begins_with(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "moved" / name)
    counted = CountedPicture(
        shown_name(Path(name)), 0.0, (40, 40), None, np.zeros(0, np.float32),
        sha256_file(tmp_path / "moved" / name),
    )  # fmt: skip
    session = ViewSession(CountedFolder(tmp_path, (counted,)), pictures=tmp_path / "moved")
    assert Image.open(io.BytesIO(session.tile(0, 0, 0, 0))).size == (40, 40)


def test_agreement_has_names_as_they_are_and_says_where_nobody_has_looked(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "400")  # no name is wrapped
    (tmp_path / "x[").mkdir()
    path = tmp_path / "x[" / "b].png"
    Image.new("RGB", (40, 40)).save(path)
    folder = write_counts(tmp_path / "counts", {path: ([[5, 5]], [0.5])})
    main(["view", str(folder), "--agreement"])
    shown = "".join(capsys.readouterr().out.replace("│", "").split())
    assert "x[/b].png" in shown
    assert "Nobodyhaslookedthroughapictureyet" in shown
    ViewSession(read_counted(folder)).change(0, [["checked", 0, 0]])
    main(["view", str(folder), "--agreement"])
    assert "mean difference" in capsys.readouterr().out


def test_agreement_refuses_options_that_it_would_ignore(counts, capsys):
    for ignored in (["--annotator", "anna"], ["--port", "0"], ["--no-browser"]):
        with pytest.raises(SystemExit) as ending:
            main(["view", str(counts), "--agreement", *ignored])
        assert ending.value.code == 2
        assert f"{ignored[0]} has no use beside --agreement" in capsys.readouterr().err


def test_an_empty_name_of_an_annotator_is_refused(counts, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["view", str(counts), "--annotator", ""])
    assert ending.value.code == 2
    assert "--annotator is empty" in capsys.readouterr().err
    assert not (counts / ".corrected.csv.lock").exists()


def test_a_method_without_places_is_counted_by_what_is_added(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40)).save(path)
    folder = write_counts(tmp_path / "counts", {path: (np.zeros((7, 2)), [])}, points=False)
    session = ViewSession(read_counted(folder))
    assert session.picture(0)["counts"]["corrected"] == 7
    session.change(0, [["added", 1, 1], ["added", 2, 2]])
    assert session.picture(0)["counts"]["corrected"] == 2
    assert session.overview()["bias"] == 5


def test_a_picture_is_shown_as_it_was_counted(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((20, 30), 40, np.uint8)).save(path)
    reading = {"planes": {"channel": None}, "range": [0, 80], "invert": True}
    folder = write_counts(tmp_path / "counts", {path: ([[5, 5]], [0.5])}, reading=reading)
    session = ViewSession(read_counted(folder))
    tile = np.asarray(Image.open(io.BytesIO(session.tile(0, 0, 0, 0))))
    assert set(tile.ravel().tolist()) <= {127, 128}  # 255 * (1 - 40 / 80)
