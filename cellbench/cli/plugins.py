"""`cellbench plugins`: what is registered, read from sources, so that nothing is imported."""

import ast
import json
from difflib import get_close_matches

import click

from cellbench import plugin_index
from cellbench.errors import UserError


@click.group(invoke_without_command=True)
@click.option("--role", help="Only this role, such as matcher.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_context
def command(context: click.Context, role: str | None, form: str) -> None:
    """List every registered part: role, name, what it is, its paper, where it comes from."""
    if context.invoked_subcommand is not None:
        return
    roles = list(plugin_index.ROLES.values())
    if role is not None and role not in roles:
        near = get_close_matches(role, roles, n=1) or roles
        raise UserError(f"There is no role {role!r}; did you mean {', '.join(near)}?")
    chosen = [entry for entry in plugin_index.entries() if role in (None, entry.role)]
    if form == "json":
        click.echo(json.dumps([_plain(entry) for entry in chosen], indent=2))
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
        click.secho(f"{entry.name}({signature})", bold=True)
        click.echo(f"{entry.role} of {entry.distribution} {entry.version}")
        click.echo(f"{entry.file}:{entry.line}\n")
        click.echo(entry.docstring)


def _plain(entry: plugin_index.Entry) -> dict[str, str | int]:
    return {
        "role": entry.role,
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "distribution": entry.distribution,
        "version": entry.version,
        "file": str(entry.file),
        "line": entry.line,
    }


def _table(entries: list[plugin_index.Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Registered parts", row_styles=["", "dim"])
    for column in ("role", "name", "what it is", "source", "from"):
        table.add_column(column, overflow="fold", no_wrap=column in ("role", "name"))
    for entry in entries:
        table.add_row(
            entry.role,
            entry.name,
            entry.summary,
            entry.source,
            f"{entry.distribution} {entry.version}",
        )
    Console().print(table)
