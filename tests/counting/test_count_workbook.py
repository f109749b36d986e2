"""Claims about counts.xlsx: what the tables say, as numbers and text, read by another library."""

import csv
import json
import zipfile

import openpyxl
import pytest

from cellbench.counting import count_workbook
from cellbench.counting.count_rows import csv_lines, shown_name
from cellbench.counting.count_tables import CountTables
from cellbench.counting.count_workbook import WORKBOOK, write_workbook
from cellbench.counting.written_files import only_written
from cellbench.errors import UserError
from tests.counting.test_count_tables import METHOD, counted, prediction


@pytest.fixture
def folder(tmp_path):
    """A counted folder with names and hashes that a spreadsheet would change."""
    names = ("007", "1e5", "Präparat 3.tif", shown_name(tmp_path.__class__("=1+1.png")))
    tables = CountTables(tmp_path / "counts", METHOD, dict.fromkeys(names, "12e45"))
    for number, name in enumerate(names):
        tables.add(counted(name, number, "12e45", per_mm2=0.1 * number), prediction(number))
    return tables.folder


def sheets(folder):
    book = openpyxl.load_workbook(folder / WORKBOOK)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_every_cell_of_a_table_is_in_its_sheet(folder):
    write_workbook(folder)
    table, sheet = rows_of(folder / "counts.csv"), sheets(folder)["counts"]
    assert list(sheet[0]) == table[0]
    assert len(sheet) == len(table) == 5
    for read, row in zip(sheet[1:], table[1:], strict=True):
        for column, value, text in zip(table[0], read, row, strict=True):
            if column in ("image", "sha256", "notes"):
                assert (value or "") == text
            else:
                assert value == (float(text) if text else None)


def test_no_cell_is_a_formula_or_a_link(folder):
    (folder / "skipped.csv").write_bytes(
        csv_lines([("image", "reason"), ("http://a.b/c", "=cmd|' /C calc'!A0"), ("\x01x", "y")])
    )
    write_workbook(folder)
    for sheet in openpyxl.load_workbook(folder / WORKBOOK):
        for row in sheet.iter_rows():
            assert all(cell.data_type in "sn" and cell.hyperlink is None for cell in row)
    assert sheets(folder)["skipped"][1] == ("http://a.b/c", "=cmd|' /C calc'!A0")
    with zipfile.ZipFile(folder / WORKBOOK) as parts:
        assert not any(b"<f>" in parts.read(name) for name in parts.namelist())


def test_corrected_tables_and_settings_are_sheets_and_points_are_not(folder):
    long = "counts-corrected-" + "x" * 40
    for end in ("1", "2"):
        (folder / f"{long}{end}.csv").write_bytes(csv_lines([("image", "count"), ("007", end)]))
    (folder / "regions.csv").write_bytes(csv_lines([("image", "region"), ("007", "2")]))
    write_workbook(folder)
    found = sheets(folder)
    assert list(found) == ["counts", "regions", long[:31], f"{long[:29]}-2", "method"]
    assert [found[long[:31]][1], found[f"{long[:29]}-2"][1]] == [("007", 1), ("007", 2)]
    assert found["regions"][1] == ("007", "2")
    assert dict(found["method"][1:]) == {"run_id": "ab", "scale": "1.0"}
    (folder / "method.json").write_text(json.dumps({"threshold": -1.5, "method": "=A1"}))
    write_workbook(folder)
    assert sheets(folder)["method"][1:] == [("threshold", "-1.5"), ("method", "=A1")]


def test_settings_stay_as_they_were(folder):
    write_workbook(folder)
    assert json.loads((folder / "method.json").read_text()) == METHOD


def test_a_table_that_cannot_be_read_has_no_sheet(folder):
    (folder / "skipped.csv").write_bytes("Größe".encode("utf-16"))
    write_workbook(folder)
    assert "skipped" not in sheets(folder)


def test_more_rows_than_a_sheet_has_is_one_sentence(folder, monkeypatch):
    monkeypatch.setattr(count_workbook, "_MOST_ROWS", 4)
    with pytest.raises(UserError, match=r"counts\.csv has 5 lines, and a sheet of Excel 4 at most"):
        write_workbook(folder)
    assert not (folder / WORKBOOK).exists()


def test_the_workbook_is_known_as_written_by_a_count(folder):
    write_workbook(folder)
    assert only_written(folder)
    (folder / "other.xlsx").write_bytes(b"")
    assert not only_written(folder)
