"""`cellbench data fetch` and `cellbench data show`, as a user meets them."""

import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cellbench.cli.main import main
from cellbench.data.set_writer import NewItem, write_set


@pytest.fixture
def stored(home):
    """A set on disk whose third image is damaged."""
    rng = np.random.default_rng(0)
    items = [
        NewItem(
            image_id=f"cell-{i}",
            picture=np.full((150, 150, 3), 40 * i, np.uint8),
            size=(150, 150),
            points=rng.uniform(0, 150, (i, 2)).astype(np.float32),
        )
        for i in range(6)
    ]
    stored = write_set("adi", items, source="a test")
    (stored.folder / "images" / "cell-3.png").write_bytes(b"no longer a picture")
    return stored


@pytest.fixture
def failing(capsys, tmp_path, monkeypatch):
    """Run a command in this process; the one line with which it fails."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        assert ended.value.code == 2
        assert said.out == ""
        assert said.err.startswith("cellbench: ")
        assert said.err.count("\n") == 1
        return said.err

    return run


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_show_writes_a_sheet_and_says_where(command, stored, tmp_path):
    done = command("data", "show", "adi", "--ids", "cell-0,cell-2, cell-5", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "adi-sheet.png\n"
    assert size(tmp_path / "adi-sheet.png")[0] > 2 * 450


def test_the_dots_can_be_left_out(capsys, stored, tmp_path):
    sheets = {}
    for flag in ("--annotation", "--no-annotation"):
        output = tmp_path / "new" / f"{flag}.png"
        main(["data", "show", "adi", "--ids", "cell-5", "--output", str(output), flag])
        assert capsys.readouterr().out == f"{output}\n"
        with Image.open(output) as picture:
            sheets[flag] = np.asarray(picture)
    differ = (sheets["--annotation"] != sheets["--no-annotation"]).any(axis=2)
    assert 100 < differ.sum() < 0.05 * differ.size


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["adi", "--ids", "cell-9"], "names 'cell-9', and the set has 6 images"),
        (["adi", "--ids", " , "], "names 'nothing'"),
        (["adi", "--ids", "cell-3"], "cellbench data verify adi"),
        (["adi", "--output", "a.txt"], "should end in .png, .jpg, .jpeg"),
        (["adi", "--ids", "cell-0", "--output", "/dev/null/a.png"], "name another --output"),
        (["adi", "--count", "0"], "--count"),
        (["mbm"], "`cellbench data import mbm --from DIR`"),
        (["adipose"], "adi"),
        (["../adi"], "'../adi'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(failing, stored, tmp_path, arguments, why):
    assert why in failing("data", "show", *arguments)
    assert not list(tmp_path.glob("*.partial"))


def test_a_simulated_set_is_drawn_without_being_stored(home, tmp_path):
    arguments = ["data", "show", "vgg-sim", "--count", "2", "--output"]
    first, again, other = (tmp_path / name for name in ("first.png", "again.png", "other.jpg"))
    main([*arguments, str(first)])
    main([*arguments, str(again)])
    main([*arguments, str(other), "--seed", "1"])
    assert first.read_bytes() == again.read_bytes()
    assert size(first)[0] > 1000
    with Image.open(first) as one, Image.open(other) as two:
        assert np.abs(np.asarray(one)[:400, :400] - np.asarray(two)[:400, :400]).mean() > 1
    assert not (home / "data").exists()


def test_no_torch_is_imported(home, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from cellbench.cli.main import cli\n"
        "for words in (['data', 'show', 'adi-sim', '--count', '1'], ['data', 'fetch', 'dcc']):\n"
        "    try: cli.main(words, standalone_mode=False)\n"
        "    except Exception as error: assert words[1] == 'fetch', error\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(', '.join(loaded & {'torch', 'torchvision', 'cv2', 'matplotlib'}) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "adi-sim-sheet.png").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["adi-sim"], "is drawn and not downloaded"),
        (["dcc"], "github.com/markmarsden/DublinCellDataset"),
        (["adi", "mbm", "--url", "http://x/y"], "--url is the address of one set"),
        (["adl"], "did you mean"),
        ([], "SET"),
        (["adi"], "CELLBENCH_OFFLINE is set"),
        (["adi", "--url", "file:///etc/passwd"], "no http or https address"),
        (["adi", "--url", "http://127.0.0.1:1/a.zip"], "127.0.0.1 cannot be reached"),
    ],
)
def test_a_fetch_that_cannot_be_is_one_line(failing, home, monkeypatch, arguments, why):
    if arguments == ["dcc"]:
        monkeypatch.delenv("CELLBENCH_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    assert why in failing("data", "fetch", *arguments)


def test_a_set_on_disk_is_not_fetched_again(capsys, stored):
    main(["data", "fetch", "adi"])
    assert "on disk already" in capsys.readouterr().out


def test_a_dead_server_is_given_up_within_5_seconds(failing, home, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    failing("data", "fetch", "adi")  # imports what is needed
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/adipocyte_data.zip"
        start = time.monotonic()
        assert "does not answer" in failing("data", "fetch", "adi", "--url", url)
    assert time.monotonic() - start < 5.5
