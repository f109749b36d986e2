import subprocess
import sys

import click
import pytest

import cellbench
from cellbench.cli.main import cli, main
from cellbench.sweeps.failures import ran_out_of_memory, reason_for


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["plugins"],
        ["plugins", "show", "MDGC"],
        ["data", "list"],
        ["leaderboard"],
        ["run", "configs/dla_adi.py", "--set", "model.matcher.type=KMH"],
    ],
)
def test_what_neither_trains_nor_scores_never_imports_torch(arguments, home, tmp_path):
    code = (
        "import sys\n"
        "from cellbench.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "sys.exit(99 if 'torch' in sys.modules or 'cv2' in sys.modules else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def commands(command, path=()):
    """The words of every command, those of groups too."""
    yield list(path)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_help_is_text_for_a_user_without_the_sections_of_a_docstring(words, home, capsys):
    main([*words, "--help"])
    shown = capsys.readouterr().out
    assert "Usage: cellbench" in shown
    for section in ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:", "Source:"):
        assert section not in shown


def test_the_version_is_the_packages(command):
    assert command("--version").stdout.strip() == f"cellbench, version {cellbench.__version__}"


def test_an_unknown_command_offers_the_nearest(command):
    done = command("leaderbord")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("did you mean leaderboard?")


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"set -o pipefail; {sys.executable} -m cellbench plugins --format json | head -1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "["


SAID = {
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB.\n": (
        "the GPU is out of memory for 2.00 GiB more; end what else uses it"
    ),
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": (
        "the GPU is out of memory; end what else uses it"
    ),
    "cuFFT error: CUFFT_ALLOC_FAILED": "the GPU is out of memory; end what else uses it",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED": (
        "the GPU is out of memory; end what else uses it"
    ),
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "c10/cuda/CUDACachingAllocator.cpp":1014': (
        "the GPU is out of memory; end what else uses it"
    ),
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried": (
        "the memory of this machine is all; end other programs"
    ),
}


@pytest.mark.parametrize("said", SAID)
def test_a_lack_of_memory_is_one_sentence_that_a_sweep_knows_again(said, monkeypatch, capsys):
    def lacks(*arguments, **options):
        raise RuntimeError(said)

    monkeypatch.setattr(cli, "main", lacks)
    with pytest.raises(SystemExit) as ending:
        main(["run"])
    assert ending.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cellbench: {SAID[said]}")
    assert ran_out_of_memory(reason_for(1, line))


def test_another_error_of_pytorch_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(cli, "main", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        main(["run"])
