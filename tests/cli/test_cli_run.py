import os
import subprocess
import sys

import pytest

from cellbench.cli.run import Duration


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["configs/dla_ady.py"], "did you mean configs/dla_adi.py"),
        (["configs/dla_adi.py", "--set", "model.matcher.type=KMH"], "did you mean KHM?"),
        (
            ["configs/dla_adi.py", "--set", "optimizer.lr=fast"],
            "optimizer.lr: a number above 0 is",
        ),
        (["configs/dla_adi.py", "--set", "optimizer.lr=-1"], "a number above 0 is wanted"),
        (["configs/dla_adi.py", "--set", "schedule.ema=7"], "at least 0 and below 1 or None is"),
        (["configs/dla_adi.py", "--set", "optimizer.weight_decay=-1"], "of at least 0 is wanted"),
        (["configs/dla_adi.py", "--epochs", "0"], "0; it takes a whole number of at least 1."),
        (["configs/dla_adi.py", "--epochs", "0.5"], "'0.5'; it takes a whole number of at least 1"),
        (["configs/dla_adi.py", "--budget", "9999999h"], "more than a year"),
        (["configs/dla_adi.py", "--dataset", "abi"], "did you mean 'adi'?"),
        (["configs/methods/dla.py"], "add --dataset adi"),
        (
            ["configs/dla_adi.py", "--split", "5"],
            "5; it takes a whole number of at least 0 and at most 4",
        ),
        (["configs/dla_adi.py", "--budget", "soon"], "write 90s, 10m or 1.5h"),
        (["configs/dla_adi.py", "--budget", "1m", "--epochs", "3"], "give one of them"),
        (["configs/dla_adi.py", "--report", "no/such/x"], "a file in a folder that is there"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(command, arguments, said):
    done = command("run", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "v2"], "There is no protocol 'v2'; known are v1"),
        (["--protocol", "mbm-donor"], "mbm"),
        (["--device", "cuda:7"], "take --device cpu"),
        (["--strict"], "cellbench data"),
        (["--store", "{file}"], "name another one with --store"),
        (
            ["--set", "model.matcher.k='five'"],
            "model.matcher.k: KHM wants a whole number here",
        ),
    ],
)
def test_what_only_the_engine_can_tell_is_one_sentence_too(
    simulated_home, tmp_path, monkeypatch, arguments, said
):
    from click.testing import CliRunner

    from cellbench.cli.main import cli
    from cellbench.errors import UserError

    monkeypatch.setenv("CELLBENCH_HOME", str(simulated_home))
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    file = tmp_path / "file"
    file.touch()
    arguments = [text.format(file=file) for text in arguments]
    done = CliRunner().invoke(cli, ["run", "configs/dla_adi.py", "--epochs", "1", *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("45", 45), ("2 min", 120)]
)
def test_a_budget_reads_as_people_write_it(text, seconds):
    assert Duration().convert(text, None, None) == seconds


# Prints the first sentence of `cellbench run`, whether torch is loaded by then and the CPU time.
FIRST_SENTENCE = """
import sys, time
import rich.console

def first(self, text, **options):
    print(text, "torch" in sys.modules, time.process_time(), sep="|")
    raise SystemExit(0)

rich.console.Console.print = first
from cellbench.cli.main import main
main(["run", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("configs/dla_adi.py", "DLA on adi-sim, split 0, in 60 s: "),
        ("configs/methods/watershed.py", "so that --budget changes nothing"),
    ],
)
def test_a_budget_is_announced_before_torch_is_loaded(config, said, simulated_home):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SENTENCE, config, "--dataset", "adi-sim", "--budget", "1m"],
        env={**os.environ, "CELLBENCH_HOME": str(simulated_home), "CELLBENCH_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    text, torch_loaded, seconds = done.stdout.strip().split("|")
    assert said in text
    assert torch_loaded == "False"
    assert float(seconds) < 5  # of a CPU; measured: 0.6
