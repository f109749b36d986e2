"""Three commands lead from a folder of annotated pictures to counts of others."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from annotation_samples import FORMATS, copy_pictures, nuclei_pictures
from rich.console import Console

import cellbench
from cellbench.cli.main import main
from cellbench.cli.recommend import show_recommendation
from cellbench.errors import UserError
from cellbench.recommending.evidence import MeanError
from cellbench.recommending.recommendation import MethodResult, Recommendation


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
    assert shown.endswith("Next: cellbench recommend mine\n")
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


def test_a_name_that_no_set_has_leads_to_the_own_sets_and_their_import(
    home, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    FORMATS["text"](copy_pictures(nuclei_pictures(3), tmp_path / "in"), tmp_path / "in")
    main(["data", "import", "mine", "--own", "--from", "in"])
    capsys.readouterr()
    typed = (
        ["recommend", "mime"],
        ["count", "in", "--annotated", "mime"],
        ["data", "show", "mime"],
        ["data", "verify", "mime"],
        ["data", "fetch", "mime"],
        ["data", "import", "mime", "--from", "in"],
        ["run", "methods/bloblog.py", "--dataset", "mime"],
        ["compare", "baselines", "--datasets", "mime", "--dry-run"],
    )
    for arguments in typed:
        with pytest.raises(SystemExit) as ending:
            main(arguments)
        assert ending.value.code == 2
        sentence = capsys.readouterr().err.strip()
        assert "There is no data set 'mime' (did you mean 'mine'" in sentence, arguments
        assert "`cellbench data import mime --own --from DIR`" in sentence
    for arguments in (["fetch", "mine"], ["import", "mine", "--from", "in"]):
        for more in ([], ["--force"]):
            with pytest.raises(SystemExit) as ending:
                main(["data", *arguments, *more])
            assert ending.value.code == 2
            sentence = capsys.readouterr().err
            assert "`cellbench data import mine --own --from DIR --force` replaces it" in sentence


@pytest.mark.parametrize("store", ["plain", "st ö [x]"])
def test_the_printed_command_can_be_pasted_whatever_the_folder(
    store, home, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    FORMATS["text"](copy_pictures(nuclei_pictures(5), tmp_path / "in"), tmp_path / "in")
    main(["data", "import", "mine", "--own", "--from", "in"])
    capsys.readouterr()
    main(["run", "methods/meancount.py", "--dataset", "mine", "--store", store])
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("Your pictures: "))
    *words, folder = shlex.split(line.removeprefix("Your pictures: "))
    assert words == ["cellbench", "count", "PICTURE...", "--with"]
    assert (tmp_path / folder / "record.json").is_file()
    assert any(line.endswith(folder) for line in lines if line.startswith("Log"))
    assert ("'" in line) == (store != "plain")


def test_a_set_that_cannot_be_divided_is_told_at_its_import(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = copy_pictures(nuclei_pictures(1), tmp_path / "in")
    FORMATS["text"](cells, tmp_path / "in")
    main(["data", "import", "mine", "--own", "--from", "in"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("mine: 1 picture, ")
    assert said[-1].startswith("Too few for `run` and `recommend`: mine has 1 image")


def test_a_set_of_two_groups_is_refused_before_any_method_is_tried(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = copy_pictures(nuclei_pictures(6), tmp_path / "in")
    FORMATS["text"](cells, tmp_path / "in")
    for at, path in enumerate(sorted((tmp_path / "in").iterdir())):
        path.rename(path.with_name(f"m{at // 2 % 2}_{path.name}"))
    cellbench.import_own("mine", "in", group="(m.)_")
    with pytest.raises(UserError, match="mine has 2 groups of images to part and 3 are needed"):
        cellbench.recommend("mine", say=lambda text: pytest.fail(text))
    assert not (tmp_path / "runs").exists()


def test_a_method_that_was_tested_on_fewer_pictures_says_so(capsys):
    errors = {
        "BlobLoG": ("recommended", MeanError(3.31, 1.15, 9.53, 16)),
        "Watershed": ("given up", MeanError(0.25, 0.0, 32.15, 4)),
        "FCRN-A": ("not tried", None),
    }
    results = tuple(
        MethodResult(name, state, error, None) for name, (state, error) in errors.items()
    )
    found = Recommendation(
        dataset="mine",
        method="BlobLoG",
        results=results,
        folder=Path("runs/a"),
        mean_count=32.9,
        more_pictures=48,
        curve=(),
        pictures=(),
        residuals=(),
    )
    show_recommendation(Console(width=100), found)
    said = capsys.readouterr().out
    assert re.search(r"Watershed .* given up; on 4 of 16 pictures", said)
    assert said.count("of 16 pictures") == 1


def test_a_name_that_is_too_long_is_told_with_the_limit(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    FORMATS["text"](copy_pictures(nuclei_pictures(3), tmp_path / "in"), tmp_path / "in")
    name = "a" * 300
    for words, limit in (
        (["data", "import", name, "--own", "--from", "in"], "at most 100"),
        (["data", "show", name], "at most 100"),
        (["recommend", name], "at most 100"),
        (["run", "methods/bloblog.py", "--dataset", name], "at most 100"),
        (["models", "add", "nuclei-unet", "--name", name], "at most 100 letters"),
        (["count", "in", "--with", name], "longer than a file's name may be"),
    ):
        with pytest.raises(SystemExit) as ending:
            main(words)
        assert ending.value.code == 2, words
        sentence = capsys.readouterr().err.strip()
        assert limit in sentence
        assert "\n" not in sentence
    main(["data", "import", "a" * 100, "--own", "--from", "in"])
    main(["data", "verify", "a" * 100])


@pytest.mark.parametrize("edge", ["nan", "inf", "1e300", "0", "-1"])
@pytest.mark.parametrize("words", [["data", "import", "mine", "--own", "--from"], ["count"]])
def test_the_size_of_a_pixel_is_a_number_that_pictures_have(words, edge, home, tmp_path, capsys):
    with pytest.raises(SystemExit) as ending:
        main([*words, str(tmp_path), "--um-per-px", edge])
    assert ending.value.code == 2
    sentence = capsys.readouterr().err.strip()
    assert sentence.endswith("it takes a number of at least 0.0001 and at most 1000.")
    assert "\n" not in sentence


def import_and_photos(name, tmp_path, command):
    """A set of sixteen pictures, and forty others with their true counts."""
    cells = copy_pictures(nuclei_pictures(16), tmp_path / "annotated")
    FORMATS[name](cells, tmp_path / "annotated")
    truth = copy_pictures(nuclei_pictures(40, first=60), tmp_path / "photos")
    extra = ("--um-per-px", "0.5") if name.endswith("-um") else ()
    done = command(
        "data", "import", "mine", "--own", "--from", "annotated", *extra, cwd=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    return {f"{image}.png": len(points) for image, points in truth.items()}


def relative_error(truth, folder):
    found = counted(folder)
    assert found.keys() == truth.keys()
    errors = [abs(found[image] - cells) for image, cells in truth.items()]
    return np.mean(errors) / np.mean(list(truth.values()))


@pytest.mark.slow
# All are read in tests/data; each takes a minute here.
@pytest.mark.parametrize("name", list(FORMATS)[::4])
def test_sixteen_pictures_in_any_format_lead_to_forty_counts(name, home, command, tmp_path):
    truth = import_and_photos(name, tmp_path, command)
    where = {"cwd": str(tmp_path)}
    run = ("run", "methods/bloblog.py", "--dataset", "mine", "--protocol", "everything")
    done = command(*run, **where)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "leaderboards/records/mine").glob("*.json")
    done = command("count", "photos", "--with", str(record), "--no-pictures", **where)
    assert done.returncode == 0, done.stderr
    assert relative_error(truth, tmp_path / "counts") < 0.3


@pytest.mark.slow
def test_the_recommended_method_counts_as_well_as_it_says(home, command, tmp_path):
    truth = import_and_photos("text", tmp_path, command)
    where = {"cwd": str(tmp_path)}
    done = command("recommend", "mine", "--budget", "1m", **where)
    assert done.returncode == 0, done.stderr
    assert "more annotated pictures would halve" in done.stdout
    (kept,) = tmp_path.glob("runs/mine/*/recommendation.json")
    done = command("count", "photos", "--with", str(kept.parent), "--no-pictures", **where)
    assert done.returncode == 0, done.stderr
    assert "in the cross-validation of mine" in done.stdout
    assert relative_error(truth, tmp_path / "counts") < 0.2
    document = json.loads(kept.read_text())
    assert len(document["residuals"]) == 16
    states = [one["state"] for one in document["results"]]
    assert states.count("recommended") == 1
    assert (
        next(one for one in document["results"] if one["name"] == "MeanCount")["state"] == "control"
    )
