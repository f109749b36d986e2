"""Claims about tables that people and programs read."""

import csv
import io
import json
import os
from dataclasses import fields, replace

import pytest
from record_samples import sample_record

from cellbench.errors import UserError
from cellbench.ranking import tables
from cellbench.ranking.ranks import rank_runs
from cellbench.ranking.rows import Row
from cellbench.records.record_file import write_record
from cellbench.records.store import load_records

pytestmark = pytest.mark.usefixtures("home")

METHOD = next(column for column in tables.COLUMNS if column.title == "Method")
HOSTILE = [
    "=cmd|'/c calc'!A1",
    "+1+1",
    "@SUM(A1)",
    "-2",
    "a|b",
    "<script>alert(1)</script>",
    "[x](http://evil)",
    "`rm -rf`",
    'say "hi", bye',
    "two\nlines\r\nof | text",
    "\x1b[2J\x1b]0;title\x07red",
    "\u202egnp.exe",
    "\x9b31m",
    "$x^2$",
]


@pytest.fixture
def row(tmp_path) -> Row:
    curve = [{"step": 90, "loss": 0.4, "validation_mae": 1.95}]  # it is trained by steps
    write_record(tmp_path, sample_record(curve=curve))
    return rank_runs(load_records(tmp_path).runs)[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text(row, name):
    bad = replace(row, method=name, method_title=name, weights=name, note=name)
    page, sheet = tables.as_markdown(name, [bad]), tables.as_csv([bad])
    for text in (page, sheet):
        assert not any(ord(c) < 32 and c != "\n" for c in text)
        assert not any(c in text for c in "\x7f\x9b\u202e")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 3
    bars = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines}
    assert len(bars) == 1
    assert "<script" not in page
    cells = list(csv.DictReader(io.StringIO(sheet)))
    assert len(cells) == 1
    assert cells[0]["method"][:1] not in ("=", "+", "-", "@")
    assert json.loads(tables.as_json([bad]))[0]["method"] == name


def test_a_negative_number_is_no_formula(row):
    cells = list(csv.DictReader(io.StringIO(tables.as_csv([replace(row, bias=-1.25)]))))
    assert cells[0]["bias"] == "-1.25"


def test_csv_and_json_have_every_field(row):
    names = [field.name for field in fields(Row)]
    assert next(csv.reader(io.StringIO(tables.as_csv([])))) == names
    assert tables.as_json([]) == "[]"
    found = json.loads(tables.as_json([row]))[0]
    assert list(found) == names
    assert found["mae"] == row.mae
    assert found["splits"] == [0]


def test_what_is_unknown_is_a_dash_in_tables_and_empty_in_csv(row):
    bare = replace(row, **dict.fromkeys(("mae", "rmse", "f1", "gflops", "train_s", "rank"), None))
    for column in tables.lay_out([bare]).columns:
        assert column.text(bare)
    assert "nan" not in tables.as_markdown("adi", [bare]).lower()
    assert "None" not in tables.as_csv([bare])
    assert json.loads(tables.as_json([bare]))[0]["f1"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (3.4, "3 s"), (119, "119 s"), (300, "5 min"), (10_800, "3.0 h")],
)
def test_durations_are_said_in_a_fitting_unit(row, seconds, text):
    (column,) = (column for column in tables.COLUMNS if column.field == "train_s")
    assert column.text(replace(row, train_s=seconds)) == text


@pytest.mark.parametrize(
    ("title", "changed", "text"),
    [
        ("Parameters", {"parameters": 15_000_000}, "15.0 M"),
        ("Parameters", {"parameters": 0}, "0"),
        ("# 95 %", {"rank_low": 2, "rank_high": 2}, "2"),
        ("# 95 %", {"rank_low": 2, "rank_high": 5}, "2–5"),
        ("95 %", {"mae_low": 1.25, "mae_high": None}, "–"),
        ("Splits", {"splits": (0,)}, "0"),
        ("Splits", {"splits": (0, 1, 3)}, "3 (0-1 3)"),
        ("Splits", {"splits": ()}, "–"),
        ("MAE", {"mae": 3.14159}, "3.14"),
        ("MAE", {"mae": 3.14159, "source": "A paper"}, "3.1"),
        ("Bias", {"bias": 0.0}, "0.00"),
        ("Weights", {"parameters": 0}, "–"),
        ("Selection", {"selection": "\x07"}, "–"),
    ],
)
def test_what_a_column_shows(row, title, changed, text):
    (column,) = (column for column in tables.COLUMNS if column.title == title)
    assert column.text(replace(row, **changed)) == text


def test_a_simulated_page_says_so(row):
    assert tables.SIMULATED in tables.as_markdown("adi-sim", [replace(row, simulated=True)])
    assert tables.SIMULATED not in tables.as_markdown("adi", [row])


def test_tables_are_written_once_and_only_when_they_change(tmp_path, row):
    written = tables.write_tables(tmp_path, "adi", [row])
    assert [path.name for path in written] == ["adi.md", "adi.csv"]
    assert tables.write_tables(tmp_path, "adi", [row]) == []
    changed = tables.write_tables(tmp_path, "adi", [replace(row, mae_sd=1.0)])
    assert changed == written


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path, row, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"adi\.md could not be written \(no space"):
        tables.write_tables(tmp_path, "adi", [row])


def test_a_table_has_as_many_columns_as_there_is_room_for(row):
    wide, middle, narrow = (
        {column.title for column in tables.lay_out([row], width=width).columns}
        for width in (300, 170, 80)
    )
    assert narrow < middle < wide
    assert {"#", "# 95 %", "Method", "MAE", "95 %", "RMSE", "F1", "Splits"} <= narrow
    asked = {"Parameters", "GFLOPs", "Images/s", "Training", "Selection", "Weights"}
    assert asked <= middle
    corrected = replace(row, raw_mae=9.5)
    full = replace(corrected, mae_sd=0.5, mae_seed_sd=0.2, shared=0.3, iterations=7, parameters=3)
    assert tables.lay_out([row, full]).columns == list(tables.COLUMNS)


def test_a_column_without_any_value_is_left_out(row):
    laid = tables.lay_out([replace(row, rank=None, rmse=None), replace(row, rank=None, rmse=2.0)])
    titles = [column.title for column in laid.columns]
    assert "#" not in titles
    assert "SD seeds" not in titles
    assert [line[titles.index("RMSE")] for line in laid.lines] == ["–", "2.00"]


def test_the_raw_error_has_a_column_where_a_row_has_one(row):
    laid = tables.lay_out([row, replace(row, raw_mae=9.5)])
    (place,) = (i for i, column in enumerate(laid.columns) if column.title == "Raw MAE")
    assert [line[place] for line in laid.lines] == ["–", "9.50"]
    assert len(tables.lay_out([row]).columns) == len(laid.columns) - 1


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 4), "0-2 4"), ((2, 0), "0 2")]
)
def test_runs_of_numbers_are_shortened(numbers, text):
    assert tables.ranges(numbers) == text


def test_a_reason_is_told_once_for_all_its_rows(row):
    rows = [replace(row, note="slow"), row, replace(row, note="fast"), replace(row, note="slow")]
    laid = tables.lay_out(rows)
    methods = [line[laid.columns.index(METHOD)] for line in laid.lines]
    assert methods == ["dla ¹", "dla", "dla ²", "dla ¹"]
    assert laid.notes == ["¹ slow", "² fast"]
    assert laid.widths[laid.columns.index(METHOD)] == len("Method")
    page = tables.as_markdown("adi", rows)
    assert page.count("slow") == 1
    assert "dla ¹" in page
