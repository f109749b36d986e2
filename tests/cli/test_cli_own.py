"""Three commands lead from a folder of annotated pictures to counts of others."""

import csv
import json

import numpy as np
import pytest
from annotation_samples import FORMATS, copy_pictures, nuclei_pictures

from cellbench.cli.main import main


def counted(folder):
    with (folder / "counts.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {row["image"].rpartition("/")[2]: float(row["count"]) for row in rows}


def test_a_folder_becomes_a_set_that_commands_take_by_its_name(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = copy_pictures(nuclei_pictures(5), tmp_path / "annotated")
    FORMATS["qupath"](cells, tmp_path / "annotated")
    copy_pictures(nuclei_pictures(2, first=20), tmp_path / "photos")

    def said(*arguments):
        main(list(arguments))
        return capsys.readouterr().out

    shown = said("data", "import", "mine", "--own", "--from", "annotated")
    assert f"mine: 5 pictures, {sum(map(len, cells.values()))} cells" in shown
    assert "annotation: QuPath GeoJSON" in shown
    assert "µm" not in shown
    assert (tmp_path / "mine-sheet.png").is_file()
    said("run", "methods/bloblog.py", "--dataset", "mine")
    (record,) = (tmp_path / "leaderboards/records/mine").glob("*.json")
    assert "BlobLoG" in said("leaderboard", "--dataset", "mine")
    assert not list((tmp_path / "leaderboards").glob("mine.*"))  # nothing to be passed on
    said("count", "photos", "--with", str(record), "--also", "imagej", "--no-pictures")
    assert len(counted(tmp_path / "counts")) == 2
    assert len(list((tmp_path / "counts/imagej").glob("*.zip"))) == 2
    with pytest.raises(SystemExit):
        main(["records", "add", "leaderboards", "--store", "other"])
    assert "a set of your own" in "".join(capsys.readouterr())
    assert not list(tmp_path.glob("other/**/*.json"))


def test_what_contradicts_itself_is_one_sentence_and_exit_code_2(
    home, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cells = copy_pictures(nuclei_pictures(3), tmp_path / "in")
    for name, points in cells.items():
        np.savetxt(tmp_path / "in" / f"{name}.txt", points + 200)
    for arguments, words in (
        (["mine", "--own"], "points outside"),
        (["vgg", "--group", "x"], "add --own"),
    ):
        with pytest.raises(SystemExit) as ending:
            main(["data", "import", *arguments, "--from", "in"])
        assert ending.value.code == 2
        sentence = capsys.readouterr().err.strip()
        assert words in sentence
        assert "\n" not in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_sixteen_pictures_in_any_format_lead_to_forty_counts(name, home, command, tmp_path):
    cells = copy_pictures(nuclei_pictures(16), tmp_path / "annotated")
    FORMATS[name](cells, tmp_path / "annotated")
    truth = copy_pictures(nuclei_pictures(40, first=60), tmp_path / "photos")
    extra = ("--um-per-px", "0.5") if name.endswith("-um") else ()
    where = {"cwd": str(tmp_path)}
    done = command("data", "import", "mine", "--own", "--from", "annotated", *extra, **where)
    assert done.returncode == 0, done.stderr
    done = command("recommend", "mine", "--budget", "1m", **where)
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.glob("runs/mine/*/recommendation.json")
    done = command("count", "photos", "--with", str(kept.parent), "--no-pictures", **where)
    assert done.returncode == 0, done.stderr
    assert "in the cross-validation of mine" in done.stdout
    found = counted(tmp_path / "counts")
    assert len(found) == 40
    errors = [abs(found[f"{image}.png"] - len(points)) for image, points in truth.items()]
    assert np.mean(errors) < 0.5 * np.mean([len(points) for points in truth.values()])
    document = json.loads(kept.read_text())
    assert len(document["residuals"]) == 16
    assert document["more_pictures"] > 0
