"""Claims about `cellbench leaderboard`, as a user gives it."""

import csv
import io
import json
import subprocess
import sys

import pytest
from record_samples import sample_record

from cellbench.results.records import write_record


@pytest.fixture
def store(tmp_path, home, monkeypatch):
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("CELLBENCH_STORE", str(folder))
    for method in ("dla", "p2pnet"):
        for split in range(2):
            write_record(folder, sample_record(method=method, split=split))
    write_record(folder, sample_record(method="dla", protocol="smoke"))
    write_record(folder, sample_record(dataset="vgg-sim"))
    return folder


def test_the_table_of_a_set_is_shown_and_written(command, store):
    done = command("leaderboard", "--dataset", "adi")
    assert (done.returncode, done.stderr) == (0, "")
    assert "adi, protocol v1" in done.stdout
    assert "p2pnet" in done.stdout
    assert "vgg-sim" not in done.stdout
    assert "1 row is not ranked: --all" in done.stdout
    assert sorted(p.name for p in (store / "leaderboards").iterdir()) == [
        "adi.csv",
        "adi.md",
        "records",
    ]


def test_all_sets_are_shown_without_a_name_and_the_simulated_says_so(command, store):
    done = command("leaderboard", "--no-write")
    assert "adi, protocol v1" in done.stdout
    assert "vgg-sim, protocol v1" in done.stdout
    assert "nothing about real cells" in done.stdout
    assert [p.name for p in (store / "leaderboards").iterdir()] == ["records"]


def test_json_has_what_is_promised(command, store):
    done = command("leaderboard", "--dataset", "ADI", "--format", "json")
    rows = json.loads(done.stdout)
    assert [row["rank"] for row in rows] == [1, 1]
    for row in rows:
        assert {"method", "dataset", "protocol", "splits", "mae", "rmse", "f1", "weights"} <= set(
            row
        )
        assert (row["dataset"], row["protocol"], row["splits"]) == ("adi", "v1", [0, 1])


def test_all_and_a_named_protocol_show_what_is_not_ranked(command, store):
    for arguments in (("--all",), ("--protocol", "smoke")):
        rows = json.loads(command("leaderboard", "--format", "json", *arguments).stdout)
        assert [r["method"] for r in rows if r["rank"] is None] == ["dla"]
    assert "never ranked" in command("leaderboard", "--all").stdout


def test_csv_and_markdown_are_what_is_written(command, store):
    sheet = command("leaderboard", "--dataset", "adi", "--format", "csv").stdout
    assert sheet == (store / "leaderboards/adi.csv").read_text()
    assert len(list(csv.DictReader(io.StringIO(sheet)))) == 2
    page = command("leaderboard", "--dataset", "adi", "--format", "md").stdout
    assert page == (store / "leaderboards/adi.md").read_text()


def test_showing_less_never_writes_less(command, store):
    command("leaderboard")
    before = (store / "leaderboards/adi.csv").read_bytes()
    command("leaderboard", "--dataset", "adi", "--protocol", "literature")
    command("leaderboard", "--all")
    assert (store / "leaderboards/adi.csv").read_bytes() == before


def test_a_set_without_records_is_one_sentence_and_no_error(command, store, tmp_path):
    done = command("leaderboard", "--dataset", "mbm")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "configs/dla_mbm.py" in done.stdout
    assert not (store / "leaderboards/mbm.md").exists()
    done = command("leaderboard", "--dataset", "mbm", "--format", "json")
    assert json.loads(done.stdout) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command("leaderboard", "--store", str(empty))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "nope"), ("'nope'", "adi", "dcc", "vgg-sim")),
        (("--dataset", "../adi"), ("'../adi'", "adi")),
        (("--protocol", "v9"), ("'v9'", "v1", "smoke")),
        (("--store", "/no/such/folder"), ("/no/such/folder", "--store")),
        (("--format", "xml"), ("xml", "json")),
    ],
)
def test_a_mistake_is_one_sentence_with_what_is_allowed(command, store, arguments, words):
    done = command("leaderboard", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_bad_record_is_reported_and_the_rest_is_shown(command, store):
    (store / "leaderboards/records/adi/cut.json").write_text('{"schema": 1,')
    (store / "leaderboards/records/adi/\x1b[31mred.json").write_text("{}")
    done = command("leaderboard", "--format", "json", "--dataset", "adi")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr.count("left out") == 2
    assert "cut.json" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_method_that_writes_to_the_terminal_is_shown_as_text(command, store):
    write_record(store, sample_record(method="[bold]\x1b[31mred[/bold]"))
    done = command("leaderboard", "--dataset", "adi")
    assert "\x1b" not in done.stdout
    assert "[bold][31mred[/bold]" in done.stdout


def test_a_store_that_cannot_be_written_is_said_after_the_table(command, store):
    (store / "leaderboards/adi.md").mkdir()
    done = command("leaderboard", "--dataset", "adi")
    assert done.returncode == 2
    assert "p2pnet" in done.stdout
    assert "--no-write" in done.stderr


@pytest.mark.parametrize(
    ("form", "absent"),
    [
        ("json", ("torch", "mmengine", "pandas", "scipy", "rich", "PIL", "cv2")),
        ("table", ("torch", "mmengine", "pandas", "scipy", "PIL", "cv2")),
    ],
)
def test_nothing_slow_is_imported(store, form, absent):
    program = (
        "import sys, click\n"
        "from cellbench.cli.main import cli\n"
        f"cli.main(['leaderboard', '--format', {form!r}], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(absent) & set(done.stderr.split())
