"""Claims about corrected counts as annotations of a set."""

from pathlib import Path

import numpy as np
import pytest
from counted_samples import nuclei_counts

from cellbench.api.own_folders import import_own
from cellbench.counting.corrections import CorrectionLog, apply_changes
from cellbench.counting.counted_folder import read_counted
from cellbench.errors import UserError

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


def test_a_count_that_nobody_agreed_on_is_refused(counted):
    for name in ("anna", "ben"):
        CorrectionLog.open(counted.folder, name).add(counted.pictures[0].name, [("checked", 0, 0)])
    with pytest.raises(UserError, match="corrected by anna, ben"):
        import_own("mended", counted.folder)


def test_a_picture_that_has_changed_is_refused(counted):
    log = CorrectionLog.open(counted.folder)
    log.add(counted.pictures[0].name, [("checked", 0, 0)])
    with Path(counted.pictures[0].name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match="has changed"):
        import_own("mended", counted.folder)
