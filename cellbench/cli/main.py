"""`cellbench`: the entry point. A command's module is imported when the command is called."""

import importlib
import os
import sys
from typing import Any

import click

from cellbench import __version__
from cellbench.errors import RunError, UserError

# Command name -> (module under cellbench.cli, one-line help shown without importing it).
COMMANDS = {
    "run": ("run", "Train and score one method on one data set."),
    "compare": ("compare", "Run every combination of a grid, and show the tables."),
    "count": ("count", "Count the cells in your own pictures with a trained method."),
    "leaderboard": ("leaderboard", "Show and write the tables of a data set."),
    "verify": ("verify", "Score a record's test part again and say what differs."),
    "data": ("data", "List, import, fetch, verify and show data sets."),
    "plugins": ("plugins", "List the registered parts, or show one."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cellbench.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Offer the nearest names for an unknown command."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], list(COMMANDS), n=1) or list(COMMANDS)
            raise click.UsageError(
                f"There is no command {args[0]!r}; did you mean {' or '.join(near)}?"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cellbench")
def cli() -> None:
    """Count cells, and know how well: the benchmark for cell counting in microscopy."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; exit code 2 for a user's mistake, 130 for Ctrl-C."""
    try:
        cli.main(args=arguments, prog_name="cellbench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"cellbench: {error.format_message()}", err=True)
        sys.exit(2)
    except UserError as error:
        click.echo(f"cellbench: {error}", err=True)
        sys.exit(2)
    except RunError as error:
        click.echo(f"cellbench: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cellbench: stopped; the same command goes on from here.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
