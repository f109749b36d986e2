import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw" / "cells"
    folder.mkdir(parents=True)
    for index in (1, 2, 3):
        dots = np.zeros_like(PIXELS)
        dots[index, :index, 0] = 255
        Image.fromarray(np.roll(PIXELS, index, 0)).save(folder / f"00{index}cell.png")
        Image.fromarray(dots).save(folder / f"00{index}dots.png")
    return folder


def test_import_then_list_then_verify(home, raw, command):
    done = command("data", "import", "vgg", "--from", str(raw.parent))
    assert done.returncode == 0, done.stderr
    assert "vgg: 3 images, 2.0 ± 0.8 cells an image" in done.stdout
    assert "0 of 400 files are the published ones." in done.stdout

    listed = command("data", "list", "--json")
    rows = {row["set"]: row for row in json.loads(listed.stdout)}
    assert {"adi", "mbm", "vgg", "dcc"} <= set(rows)
    assert rows["vgg"]["on_disk"] == 3
    assert rows["vgg"]["images"] == 200
    assert rows["vgg"]["cells_per_image"] == [176.0, 61.2]
    assert rows["adi"]["on_disk"] is None
    assert rows["adi"]["simulator"] == "adi-sim"
    assert "cellbench data import adi --from DIR" in rows["adi"]["to_do"]
    assert "fetch" not in rows["dcc"]["to_do"]

    table = command("data", "list").stdout
    assert "155.1 ± 35.9" in table
    assert "`cellbench data import dcc --from DIR`" in table

    whole = command("data", "verify")
    assert whole.returncode == 0
    assert "as imported" in whole.stdout

    (home / "data/vgg/images/001.png").write_bytes(b"")
    (home / "data/vgg/points/002.txt").unlink()
    (home / "data/vgg/more.txt").touch()
    damaged = command("data", "verify", "vgg")
    assert damaged.returncode == 1
    for file, state in (
        ("images/001.png", "changed"),
        ("points/002.txt", "missing"),
        ("more.txt", "extra"),
    ):
        assert any(file in line and state in line for line in damaged.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("import", "vgb", "--from", "."), "did you mean 'vgg'"),
        (("import", "vgg", "--from", "absent"), "absent does not exist"),
        (("import", "vgg"), "--from"),
        (("verify", "adi"), "cellbench data import adi --from DIR"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(home, command, arguments, sentence):
    done = command("data", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_nothing_on_disk_is_no_damage(home, command):
    done = command("data", "verify")
    assert done.returncode == 0
    assert "No data set is on disk" in done.stdout


def test_help_names_all_subcommands(command):
    text = command("data", "--help").stdout
    assert all(name in text for name in ("list", "import", "fetch", "verify", "show"))


def test_no_command_here_imports_torch(home, raw):
    script = f"""
import sys
from cellbench.cli.main import cli
for arguments in (["data", "--help"], ["data", "import", "vgg", "--from", {str(raw)!r}],
                  ["data", "list"], ["data", "verify"]):
    cli.main(arguments, standalone_mode=False)
    assert "torch" not in sys.modules, arguments
assert "cellbench.cli.data_show" not in sys.modules
assert "cellbench.cli.data_fetch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_verify_of_an_unknown_set_names_the_known_ones(home, command):
    done = command("data", "verify", "abi")
    assert done.returncode == 2
    assert "adi" in done.stderr
    assert "is not on disk" not in done.stderr
