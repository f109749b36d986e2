"""`cellbench check`: contract tests of installed plugin packages."""

import sys

import click

from cellbench.errors import UserError


@click.command(name="check")
@click.argument("plugin", required=False)
@click.option("--quiet", is_flag=True, help="Show only what fails.")
def command(plugin: str | None, quiet: bool) -> None:
    """Run the contract tests on the parts and configs of an installed package.

    PLUGIN is the name of the package, as pip takes it; without it every installed plugin package
    is tested, except for cellbench's own parts. Exit code 1 where something fails.
    """
    from cellbench.testing.contract_claim import CannotCheckError
    from cellbench.testing.package import checks_of, find_package, installed_packages

    names = sorted(installed_packages()) if plugin is None else [find_package(plugin)]
    if not names:
        raise UserError("No plugin package is installed; `cellbench new` writes one.")
    failed = False
    for name in names:
        held = broken = 0
        subject = ""
        for check in checks_of(name):
            try:
                problem = check.problem()
                held, broken = held + (not problem), broken + bool(problem)
                mark = click.style("FAIL", fg="red") if problem else click.style("ok", fg="green")
            except CannotCheckError as error:
                problem, mark = str(error), click.style("not checked", fg="yellow")
            if quiet and not problem:
                continue
            if check.subject != subject:
                subject = check.subject
                click.secho(subject, bold=True)
            click.echo(f"  {mark}  {check.claim}" + (f": {problem}" if problem else ""))
        failed = failed or broken > 0
        click.echo(f"{name}: {held} of {held + broken} checks hold.")
    if failed:
        sys.exit(1)
