"""Claims about `cellbench compare` as a user gives it; what its runs do is in tests/sweeps."""

import subprocess
import sys

import pytest

from cellbench.cli.compare import Numbers


def test_the_whole_plan_of_a_fresh_home_is_printed_without_torch(home, tmp_path):
    code = (
        "import sys\n"
        "from cellbench.cli.main import main\n"
        "main(['compare', '--dry-run'])\n"
        "sys.exit(99 if {'torch', 'cv2', 'ray'} & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "240 runs: 0 done, 0 missing, 240 without their set." in done.stdout
    assert done.stdout.count("no set") == 48
    assert list(tmp_path.iterdir()) == [home]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ADI is not on disk; `cellbench data import adi --from DIR`"),
        (["tabel3"], "There is no grid 'tabel3'; did you mean table3"),
        (["--datasets", "adi,ady"], "There is no data set 'ady' (did you mean 'adi'"),
        (["--splits", "0-7"], "7 is too much; they are 0 to 4."),
        (["--splits", "few"], "write 0-4 or 0,2,3"),
        (["--epochs", "3", "--budget", "8m"], "give one of them"),
        (["--cpus-per-run", "2"], "add --executor ray"),
        (["--protocol", "v2"], "There is no protocol 'v2'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(home, tmp_path, capsys, arguments, said):
    from cellbench.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["compare", "--store", str(tmp_path), *arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-4", (0, 1, 2, 3, 4)), ("2", (2,)), ("3, 0-1,1", (0, 1, 3))]
)
def test_splits_read_as_people_write_them(text, numbers):
    assert Numbers(4).convert(text, None, None) == numbers
