"""The commands of CONTRIBUTING, to the letter: from an empty folder to a compared method."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def commands():
    """The lines of the marked block."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.search(r"<!-- plugin -->\n```\n(.*?)```", text, re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The variables of a shell whose environment holds the wheel alone, and no network.

    Dependencies are seen through a path file, which does not run those of the checkout.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "-w", folder, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout
    dependencies = Path(site.strip(), "dependencies.pth")
    dependencies.write_text(sysconfig.get_path("purelib") + "\n")
    pip = folder / "env" / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{python}" -m pip "$@"\n')
    pip.chmod(0o755)
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= {
        "PATH": f"{pip.parent}:{os.environ['PATH']}",
        "CELLBENCH_HOME": str(folder / "home"),
        "CELLBENCH_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as it reads the option: 0 is no isolation
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [pip, "install", "-q", "--no-deps", *folder.glob("*.whl")], check=True, env=variables
    )
    return variables


def draw(folder, number=20):
    """Pictures of bright cells, each with its dots."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(6, 90, 14), np.arange(6, 90, 14)), -1).reshape(-1, 2)
    for index in range(number):
        cells = places[rng.random(len(places)) < rng.uniform(0.3, 0.9)] + rng.integers(-2, 3, 2)
        dots = np.zeros((96, 96), np.uint8)
        dots[cells[:, 1], cells[:, 0]] = 255
        look = gaussian_filter(dots.astype(float), 2.5) * 24 + rng.normal(60, 6, dots.shape)
        Image.fromarray(look.clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.png")
        Image.fromarray(dots).save(folder / f"{index:02}_dots.png")


def test_the_commands_of_contributing_lead_from_an_empty_folder_to_a_table(tmp_path, elsewhere):
    draw(tmp_path / "pictures")
    said = {}
    for line in commands():
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=elsewhere, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said[line] = done.stdout
    records = [
        json.loads(file.read_text())
        for file in (tmp_path / "leaderboards/records/my_cells").glob("*.json")
    ]
    assert {record["method"] for record in records} == {"MyMethod", "FCRN", "MeanCount"}
    assert {len(record["images"]) for record in records} == {4}  # 20 % of 20
    (mine,) = [record for record in records if record["method"] == "MyMethod"]
    assert "my_method" in {part["distribution"] for part in mine["plugins"]}
    assert "MyMethod" in said["cellbench leaderboard --dataset my_cells"]
    for name in ("my_cells", "my_method"):
        assert re.search(rf"{name}: (\d+) of \1 checks hold", said[f"cellbench check {name}"])
