"""`cellbench plugins`: list and show registered parts, read from sources without imports."""

import ast
import json
import unicodedata
from difflib import get_close_matches

import click

from cellbench import plugin_index
from cellbench.api.listings import described, find_parts, plugins
from cellbench.cli.docs import DocumentedGroup
from cellbench.errors import UserError


@click.group(cls=DocumentedGroup, function=plugins, invoke_without_command=True)
@click.option("--role")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How to print it.",
)
@click.pass_context
def command(context: click.Context, role: str | None, form: str) -> None:
    """Command of `cellbench.api.listings.plugins`."""
    if context.invoked_subcommand is not None:
        return
    chosen = find_parts(role)
    if form == "json":
        click.echo(json.dumps([described(entry) for entry in chosen], indent=2))
        return
    _table(chosen)
    for module in plugin_index.unread_modules():
        if module.reason:
            click.echo(f"{module.distribution}: the module {module.module} {module.reason}.")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the signature, documentation and place of the part called NAME."""
    found = [e for e in plugin_index.entries() if e.name.casefold() == name.casefold()]
    if not found:
        names = sorted({entry.name for entry in plugin_index.entries()})
        folded = {known.casefold(): known for known in names}
        close = get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.4)
        hint = (
            f"did you mean {', '.join(folded[key] for key in close)}?"
            if close
            else "`cellbench plugins` lists them."
        )
        raise UserError(f"There is no part called {name!r}; {hint}")
    for entry in found:
        signature = "..." if entry.arguments is None else ast.unparse(entry.arguments)
        signature = signature.removeprefix("self").removeprefix(", ")
        click.secho(_printable(f"{entry.name}({signature})"), bold=True)
        click.echo(f"{entry.role} of {entry.distribution} {entry.version}")
        click.echo(f"{_printable(str(entry.file))}:{entry.line}\n")
        click.echo("\n".join(map(_printable, entry.docstring.splitlines())))


def _table(entries: list[plugin_index.Entry]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Registered parts", row_styles=["", "dim"])
    for column in ("role", "name", "what it is", "source", "from"):
        table.add_column(column, overflow="fold", no_wrap=column in ("role", "name"))
    for entry in entries:
        table.add_row(
            entry.role,
            *(Text(_printable(text)) for text in (entry.name, entry.summary, entry.source)),
            f"{entry.distribution} {entry.version}",
        )
    Console().print(table)


def _printable(text: str) -> str:
    """Return text without characters that a terminal would interpret; spaces are kept."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
