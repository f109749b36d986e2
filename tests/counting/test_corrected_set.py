"""Claims about corrected counts as annotations of a set."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counted_samples import nuclei_counts, write_counts
from record_samples import sample_record

from cellbench.api.own_folders import import_own
from cellbench.counting.corrected_set import annotator_counts, annotator_logs
from cellbench.counting.corrections import CorrectionLog, apply_changes
from cellbench.counting.counted_folder import read_counted
from cellbench.data.set_damage import verify_set
from cellbench.errors import UserError
from cellbench.ranking.leaderboards import find_leaderboard
from cellbench.ranking.people import people_rows
from cellbench.ranking.rows import PEOPLE
from cellbench.records.record_file import write_record
from cellbench.reports.site.site_build import build_site

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def counted(tmp_path):
    return read_counted(nuclei_counts(tmp_path))


def test_pictures_that_were_looked_through_become_a_set_with_the_corrected_cells(counted):
    log = CorrectionLog.open(counted.folder)
    first, second, _ = counted.pictures
    x, y = first.places[0].tolist()
    log.add(first.name, [("removed", x, y), ("added", 33.25, 44.5)])
    log.add(second.name, [("checked", 0, 0)])
    stored = import_own("mended", counted.folder)
    assert len(stored) == 2
    wanted = {
        picture.sha256[:8]: apply_changes(picture.places, log.changes[picture.name])
        for picture in (first, second)
    }
    for image_id in stored.ids:
        done = wanted[image_id[-8:]]
        points = stored.sample(image_id).points
        assert len(points) == done.count
    taught = stored.sample(next(i for i in stored.ids if i.endswith(first.sha256[:8]))).points
    assert (np.abs(taught - [33.25, 44.5]).max(axis=1) < 1e-3).sum() == 1
    assert not (np.abs(taught - [x, y]).max(axis=1) < 1e-3).any()


def test_the_folders_of_pictures_are_groups_of_their_corrections(tmp_path):
    (tmp_path / "flat").mkdir()
    flat = read_counted(nuclei_counts(tmp_path / "flat", images=4))
    pictures = {}
    for at, picture in enumerate(flat.pictures):
        # Two folders of animals, one of them called what people call folders of annotations.
        path = tmp_path / ("masks", "mouse 2")[at // 2] / f"field {at % 2}.png"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(picture.name, path)
        pictures[path] = (picture.points, picture.scores)
    counted = read_counted(write_counts(tmp_path / "counts", pictures))
    log = CorrectionLog.open(counted.folder, "", counted.hashes)
    for picture in counted.pictures:
        log.add(picture.name, [("checked", 0, 0)], picture.sha256)
    stored = import_own("mended", counted.folder, group="folder")
    assert len(stored) == 4
    assert sorted(stored.group(i) for i in stored.ids) == ["masks"] * 2 + ["mouse 2"] * 2
    assert stored.manifest.own.um_per_px == 0.5
    assert verify_set(stored) == []


def test_a_count_that_nobody_agreed_on_is_refused(counted):
    for name in ("anna", "ben"):
        CorrectionLog.open(counted.folder, name).add(counted.pictures[0].name, [("checked", 0, 0)])
    with pytest.raises(UserError, match="corrected by anna, ben"):
        import_own("mended", counted.folder)


def test_what_several_people_counted_is_a_row_of_the_set_s_table(counted, tmp_path):
    first, second, third = counted.pictures
    corners = [("added", 1.0 + k, 2.0) for k in range(6)]
    anna, ben, agreed = (CorrectionLog.open(counted.folder, name) for name in ("anna", "ben", ""))
    anna.add(first.name, corners[:4])
    ben.add(first.name, corners[:1])  # three fewer
    anna.add(second.name, [("checked", 0, 0)])
    ben.add(second.name, [("added", 5.0, 6.0)])  # one more
    anna.add(third.name, corners)  # ben has not looked at it
    for picture in (first, second, third):
        agreed.add(picture.name, [("checked", 0, 0)])
    stored = import_own("mended", counted.folder)
    assert verify_set(stored) == []
    (row,) = people_rows(["mended", "nuclei"])
    assert row.method == "people: anna, ben"
    assert (row.mae, row.rank) == (2.0, None)
    assert row.rmse == pytest.approx(5**0.5)
    assert "over 2 pictures that both counted" in row.note

    write_record(tmp_path, sample_record(dataset="mended"))
    found = find_leaderboard("mended", None, False, False, [str(tmp_path)])
    assert [row.protocol for row in found.rows] == ["v1", PEOPLE]
    assert found.shown == 1
    build_site([tmp_path], tmp_path / "site")
    text = (tmp_path / "site/mended/v1/index.html").read_text()
    assert "2.00 cells (people: anna, ben)" in text


def test_a_number_without_places_that_somebody_let_stand_is_no_person_s_count(counted):
    first, second, third = counted.pictures
    numbers = replace(counted, pictures=(replace(first, points=None), second, third))
    for name, cells in (("anna", [("added", 5.0, 6.0), ("added", 9.0, 9.0)]), ("ben", [])):
        CorrectionLog.open(counted.folder, name).add(first.name, [*cells, ("checked", 0, 0)])
    names = {f"{Path(first.name).stem}-{first.sha256[:8]}": "one"}
    document = json.loads(annotator_counts(numbers, names))
    assert document == {"people": ["anna", "ben"], "pictures": {"one": [2, None]}}
    document = json.loads(annotator_counts(counted, names))
    assert document["pictures"] == {"one": [len(first.points) + 2, len(first.points)]}


def test_a_file_that_repeats_a_person_s_is_no_second_person(counted):
    CorrectionLog.open(counted.folder, "anna").add(counted.pictures[0].name, [("checked", 0, 0)])
    shutil.copy(counted.folder / "corrected-anna.csv", counted.folder / "corrected.csv")
    assert annotator_logs(counted) == {}
    CorrectionLog.open(counted.folder).add(counted.pictures[0].name, [("added", 1, 1)])
    assert sorted(annotator_logs(counted)) == ["anna", "corrected"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"people": ["a"], "pictures": {}}',
        '{"people": ["a", "b"], "pictures": {"x": [1]}}',
        '{"people": ["a", 5], "pictures": {}}',
        '{"people": ["a", "b"], "pictures": {"x": [1, "many"]}}',
        '{"people": ["a", "b"], "pictures": {"x": [1, null]}}',
    ],
)
def test_a_damaged_file_of_people_is_no_row(home, text):
    folder = home / "data/mine"
    folder.mkdir(parents=True)
    (folder / "people.json").write_text(text)
    assert people_rows(["mine"]) == []


def test_a_picture_that_has_changed_is_refused(counted):
    log = CorrectionLog.open(counted.folder)
    log.add(counted.pictures[0].name, [("checked", 0, 0)])
    with Path(counted.pictures[0].name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match="has changed"):
        import_own("mended", counted.folder)
