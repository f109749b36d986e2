"""`cellbench`: entry point of the command line; modules of commands are imported on demand."""

import errno
import importlib
import os
import re
import sys
import unicodedata
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import click

from cellbench.errors import LACK_OF_MEMORY, RunError, UserError
from cellbench.version import __version__

# pydantic would search all installed packages for its plugins at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Command name -> (module under cellbench.cli, one-line help shown without importing it).
COMMANDS = {
    "run": ("run", "Train and score one method on one data set."),
    "compare": ("compare", "Run every combination of a grid that is missing, and show the tables."),
    "count": ("count", "Count the cells in your own pictures with a trained method."),
    "recommend": ("recommend", "Find the method that counts your annotated pictures best."),
    "view": ("view", "Open the pictures of a count in the browser, and correct the count there."),
    "leaderboard": ("leaderboard", "Show and write the tables of a data set."),
    "site": ("site", "Write pages of all results, to open in a browser."),
    "report": ("report", "Write a comparison for a paper: one HTML page, and LaTeX."),
    "verify": ("verify", "Score a record's test part again and say what differs."),
    "export": (
        "export",
        "Write the network of a finished run as ONNX, for programs without PyTorch.",
    ),
    "models": ("models", "List and keep trained methods that count."),
    "records": ("records", "Take in records that were made elsewhere."),
    "data": ("data", "List, import, fetch, verify and show data sets."),
    "plugins": ("plugins", "List the registered parts, or show one."),
    "new": ("new", "Write a package with a part or a data set of your own, to start from."),
    "check": ("check", "Run the contract tests on an installed plugin package."),
}


class LazyGroup(click.Group):
    """Command group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the commands, in the order in which users need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; suggest the nearest name for an unknown one."""
        if cmd_name.startswith("-"):  # an option, which click reports itself
            return None
        if cmd_name not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(cmd_name, list(COMMANDS), n=1) or list(COMMANDS)
            raise click.UsageError(
                f"There is no command {cmd_name!r}; did you mean {' or '.join(near)}?"
            )
        module = importlib.import_module(f"cellbench.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the given command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error


cli: LazyGroup = click.version_option(__version__, prog_name="cellbench")(
    LazyGroup(
        help="Count cells, and know how well: the benchmark for cell counting in microscopy.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; exit code 1 for a failure, 2 for a user's mistake, 130 for Ctrl-C.

    Args:
        arguments: command line arguments; None for those of this process, whose streams and
            warnings are then configured.
    """
    if arguments is None:
        _prepare_process()
    try:
        result = cli.main(args=arguments, prog_name="cellbench", standalone_mode=False)
        _flush()
        return result
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # Rich handles it with exit code 1
            sys.exit(0)
        _end(ending.code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _end(2)
    except click.ClickException as error:
        _end(2, _explain_usage(error))
    except UserError as error:
        _end(2, str(error))
    except RunError as error:
        _end(1, str(error))
    except (KeyboardInterrupt, click.Abort):
        _end(130, "stopped; the same command goes on from here.")
    except (_ReaderGone, BrokenPipeError):
        _drop_output()  # the reader (head, less) has closed the pipe
        sys.exit(0)
    except OSError as error:
        _end(2 if error.errno == errno.ENAMETOOLONG else 1, _explain(error))
    except MemoryError:
        _end(1, _NO_MEMORY)
    except RuntimeError as error:
        if not LACK_OF_MEMORY.search(str(error)):
            raise
        _end(1, _explain_lack_of_memory(str(error)))
    except ImportError as error:
        _end(1, f"a part of cellbench or of a library cannot be loaded ({error}).")


def _explain_usage(error: click.ClickException) -> str:
    """Return click's message; for an invalid or out-of-range number, one with the allowed range."""
    kind = getattr(getattr(error, "param", None), "type", None)
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return error.format_message()
    from typing import Annotated

    from annotated_types import Interval

    from cellbench.annotations import describe

    limits = Interval(
        gt=kind.min if kind.min_open else None, ge=None if kind.min_open else kind.min,
        lt=kind.max if kind.max_open else None, le=None if kind.max_open else kind.max,
    )  # fmt: skip
    number = int if isinstance(kind, click.IntRange) else float
    came = re.sub(r" is not (a valid|in the range) .*", "", error.format_message())
    return f"{came}; it takes {describe(Annotated[number, limits])}."


_NO_MEMORY = "the memory of this machine is all; end other programs and try again."


def _explain_lack_of_memory(message: str) -> str:
    """Return PyTorch's message as one sentence, with remedies."""
    if re.search(r"CU(DA|DNN|BLAS|FFT)|NVML", message) is None:
        return _NO_MEMORY
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", message)
    more = f" for {wanted[1]} more" if wanted else ""
    return (
        f"the GPU is out of memory{more}; end what else uses it, train with smaller batches "
        "(--set data.batch_size=N), see large images smaller (--set data.input_scale=F), or take "
        "--device cpu."
    )


class _ReaderGone(Exception):
    """Standard output was closed by its reader; click itself would end with exit code 1."""


def _prepare_process() -> None:
    """Make standard streams accept any text, and hide the warnings of libraries."""
    # Files that are opened later must not get the descriptor of a closed standard stream.
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if not sys.warnoptions:  # neither -W nor PYTHONWARNINGS asks for them
        warnings.simplefilter("ignore")


def _end(code: Any, message: str = "") -> NoReturn:
    """Print a message and exit; if output cannot be written, the exit code is at least 1."""
    if message:
        with suppress(OSError, ValueError):
            click.echo(f"cellbench: {_printable(message)}", err=True)
    try:
        _flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        with suppress(OSError, ValueError):
            click.echo(f"cellbench: {_explain(error)}", err=True)
        code = code or 1
    sys.exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def _drop_output() -> None:
    """Discard the buffer of standard output, which Python would try to write again at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.ENAMETOOLONG:
        name = os.fsdecode(error.filename or "")
        return f"{name[:40]}... is longer than a file's name may be; give a shorter one."
    if error.filename is None:
        return f"the output cannot be written ({reason}); make room, or send it elsewhere."
    return f"{os.fsdecode(error.filename)} cannot be used ({reason}); see its rights and its disk."


def _printable(text: str) -> str:
    """Return text without control and direction characters, which a terminal would interpret."""
    return "".join(
        c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
    )


if __name__ == "__main__":
    main()
