"""Claims about `cellbench leaderboard`, as a user gives it."""

import csv
import io
import json
import subprocess
import sys

import pytest
from record_samples import sample_record

from cellbench.records import result_cache
from cellbench.records.record_file import write_record


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


def test_records_of_two_stores_are_ranked_together(command, store, tmp_path):
    more = tmp_path / "more"
    write_record(more, sample_record(method="another"))
    both = ("leaderboard", "--dataset", "adi", "--store", str(store), "--store", str(more))
    done = command(*both)
    assert done.returncode == 0
    assert "another" in done.stdout
    assert "another" in (store / "leaderboards/adi.csv").read_text()
    assert not (more / "leaderboards/adi.csv").exists()
    done = command(*both, "--check")
    assert done.returncode == 0
    assert "all is well" in done.stdout
    done = command("leaderboard", "--dataset", "adi", "--store", str(store), "--check")
    assert "has no record" in done.stdout
    assert "There is no folder" in command(*both, "--store", "none").stderr


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


def test_a_set_that_is_on_disk_needs_no_import_for_its_first_record(command, store):
    (said,) = command("leaderboard", "--dataset", "nuclei").stdout.splitlines()
    assert said.endswith("`cellbench run methods/dla --dataset nuclei` makes one.")


def test_a_set_without_records_is_one_sentence_and_no_error(command, store, tmp_path):
    done = command("leaderboard", "--dataset", "mbm")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cellbench run methods/dla --dataset mbm" in done.stdout.splitlines()[0]
    assert "cellbench data import mbm --from DIR" in done.stdout.splitlines()[0]
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


def test_footnotes_say_why_a_row_is_not_ranked(command, store):
    done = command("leaderboard", "--dataset", "adi", "--all", "--no-write")
    assert "dla ¹" in done.stdout
    assert "¹ protocol smoke is never ranked" in done.stdout


def test_published_numbers_stand_beside_ours_and_rank_with_nothing(command, store):
    plain = json.loads(command("leaderboard", "--dataset", "adi", "--format", "json").stdout)
    done = command("leaderboard", "--dataset", "adi", "--format", "json", "--published")
    rows = json.loads(done.stdout)
    assert rows[: len(plain)] == plain
    papers = rows[len(plain) :]
    assert {row["rank"] for row in papers} == {None}
    assert {row["protocol"] for row in papers} == {"published"}
    assert ("DLA-Count", 4.1, "unknown") in [
        (row["method"], row["mae"], row["selection"]) for row in papers
    ]
    table = command("leaderboard", "--dataset", "adi", "--published").stdout
    assert table.index("p2pnet") < table.index("PGC-Net")
    assert "best epoch of its test images" in table
    assert "PGC-Net" not in (store / "leaderboards/adi.md").read_text()


def test_a_set_without_records_shows_the_papers_and_apart_what_is_simulated(command, store):
    done = command("leaderboard", "--dataset", "dcc")
    assert done.returncode == 0
    assert "No record of dcc yet" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[0].endswith("Below are numbers from papers.")
    assert "dcc, published" in done.stdout
    write_record(store, sample_record(method="fcrn", dataset="dcc-sim", simulated=True))
    said = command("leaderboard", "--dataset", "dcc").stdout
    assert "numbers from papers and, apart, rows of its simulator" in said.splitlines()[0]
    parts = [said.index(text) for text in ("dcc, published", "DLA-Count", "dcc-sim, protocol")]
    assert parts == sorted(parts)
    assert "these numbers say nothing about real cells" in said[parts[-1] :]
    asked = command("leaderboard", "--dataset", "dcc", "--published").stdout
    assert asked == said
    rows = json.loads(
        command("leaderboard", "--dataset", "dcc", "--published", "--format", "json").stdout
    )
    assert {row["protocol"] for row in rows} == {"published"}
    assert json.loads(command("leaderboard", "--dataset", "dcc", "--format", "json").stdout) == []


def test_known_faults_are_pointed_to_where_there_are_some(command, store):
    file = store / "leaderboards/errata.md"
    plain = command("leaderboard", "--dataset", "adi").stdout
    assert "Known faults" not in plain
    file.write_text("# Errata\n\n## ADI\n\n- A dot is missing.\n\n## mbm\n\n- Nothing.\n")
    said = command("leaderboard", "--dataset", "adi").stdout
    assert said == f"{plain}Known faults of adi and of records: leaderboards/errata.md.\n"
    file.unlink()
    file.mkdir()
    done = command("leaderboard", "--dataset", "adi")
    assert (done.returncode, done.stdout) == (0, plain)
    assert "errata.md cannot be read" in done.stderr


def test_errata_are_read_by_set(tmp_path):
    from cellbench.ranking.errata import read_errata

    assert read_errata(tmp_path) == {}
    (tmp_path / "leaderboards").mkdir()
    text = "# Errata\nAll.\n## All sets\n- One.\n\n### Not a set\n- Two.\n## vgg\n"
    (tmp_path / "leaderboards/errata.md").write_text(text)
    assert read_errata(tmp_path) == {"all sets": "- One.\n\n### Not a set\n- Two.", "vgg": ""}
    of_windows = text.replace("\n", "\r\n").encode()
    (tmp_path / "leaderboards/errata.md").write_bytes(of_windows)
    assert list(read_errata(tmp_path)) == ["all sets", "vgg"]


def test_every_section_of_our_errata_is_of_a_set_and_holds_something():
    from pathlib import Path

    from cellbench.ranking.errata import ALL_SETS, read_errata
    from cellbench.registry import DATASETS

    known = read_errata(Path(__file__).parents[2])
    assert set(known) <= {ALL_SETS, *DATASETS.names()}
    assert {ALL_SETS, "adi", "mbm", "vgg"} <= set(known)
    assert all(body.startswith("- ") for body in known.values())


def test_published_rows_are_grey(store):
    from rich.console import Console

    from cellbench.cli.leaderboard import _rich_table
    from cellbench.ranking.published import read_published
    from cellbench.ranking.rows import published_rows
    from cellbench.ranking.tables import lay_out

    rows = published_rows(read_published()[:1])
    console = Console(force_terminal=True, color_system="standard", width=300)
    with console.capture() as shown:
        console.print(_rich_table("x", lay_out(rows), rows))
    (line,) = [line for line in shown.get().splitlines() if "MCNN" in line]
    assert "\x1b[90m" in line


def test_check_says_all_is_well_or_names_what_is_not(command, store):
    done = command("leaderboard", "--check")
    assert done.returncode == 0
    assert "adi: 5 records checked, all is well." in done.stdout
    record = next((store / "leaderboards/records/adi").glob("p2pnet-*-s1-*.json"))
    record.write_text(record.read_text().replace('"prediction": ', '"prediction": 1', 1))
    done = command("leaderboard", "--check")
    assert done.returncode == 1
    assert done.stdout.count("wrong:") == 1
    assert str(record) in done.stdout
    assert "adi: 5 records checked, 1 wrong." in done.stdout
    assert "vgg-sim: 1 record checked, all is well." in done.stdout
    assert command("leaderboard", "--check", "--dataset", "vgg-sim").returncode == 0
    assert not (store / "leaderboards/adi.md").exists()


def test_check_without_records_is_one_sentence(command, store, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command("leaderboard", "--check", "--store", str(empty))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_a_long_table_is_aligned_and_complete(command, store):
    from cellbench.cli import leaderboard

    for index in range(leaderboard._MANY):
        write_record(store, sample_record(method=f"m{index:03d}", split=0))
        write_record(store, sample_record(method=f"m{index:03d}", split=1))
    lines = command("leaderboard", "--dataset", "adi", "--no-write").stdout.splitlines()
    rows = [line for line in lines if " m0" in line or " m1" in line]
    assert len(rows) == leaderboard._MANY
    assert (
        len({line.index("16.0") if "16.0" in line else line.index("15.0 M") for line in rows}) == 1
    )


def test_the_rows_come_from_the_cache_and_say_the_same(store, monkeypatch):
    from cellbench.ranking import row_cache

    first = row_cache.ranked_rows(store)
    monkeypatch.setattr(row_cache, "load_records", lambda *a, **k: pytest.fail("it reads again"))
    assert row_cache.ranked_rows(store) == first
    assert row_cache.ranked_rows(store, "vgg-sim")[0] == [r for r in first[0] if r.simulated]


def test_the_cache_of_rows_can_be_damaged_and_notices_change(store, home):
    from cellbench.ranking import row_cache

    first = row_cache.ranked_rows(store, "adi")
    folder = store / "leaderboards/records/adi"
    ((stamp, whole),) = result_cache.read_results("rows", folder).values()
    for content in (
        b"",
        b"{",
        b"[[0, 0]]",
        b"[" * 100_000,
        b"[5]",
        whole.replace(b'"v1"', b"1, 2"),
    ):
        result_cache.write_results("rows", folder, {"": (stamp, content)})
        assert row_cache.ranked_rows(store, "adi") == first
    next((store / "leaderboards/records/adi").glob("p2pnet-*-s1-*.json")).unlink()
    assert [r.splits for r in row_cache.ranked_rows(store, "adi")[0] if r.rank] == [(0,), (0,)]


def test_what_is_wrong_with_a_file_is_told_at_every_call(store):
    from cellbench.ranking import row_cache

    (store / "leaderboards/records/adi/cut.json").write_text("{")
    for _ in range(2):
        rows, problems = row_cache.ranked_rows(store, "adi")
        assert len(problems) == 1
        assert sum(row.rank is not None for row in rows) == 2


@pytest.mark.parametrize(
    ("form", "absent"),
    [
        ("json", ("torch", "mmengine", "pandas", "pydantic", "scipy", "rich", "PIL", "cv2")),
        ("table", ("torch", "mmengine", "pandas", "pydantic", "scipy", "PIL", "cv2")),
    ],
)
def test_nothing_slow_is_imported(command, store, form, absent):
    command("leaderboard", "--format", form)  # a warm cache ranks nothing anew
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
