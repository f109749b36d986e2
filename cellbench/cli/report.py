"""`cellbench report`: write a comparison as HTML and LaTeX."""

from typing import Any

import click

from cellbench.api.result_pages import report
from cellbench.cli.compare import Names, Numbers
from cellbench.cli.docs import Documented


@click.command(cls=Documented, function=report)
@click.argument("grid", default="components")
@click.option("--out", default="report", show_default=True, metavar="DIR")
@click.option("--datasets", type=Names(), default="", metavar="SETS")
@click.option("--splits", type=Numbers(4), default=())
@click.option("--seeds", type=Numbers(), default=())
@click.option("--protocol", metavar="NAME")
@click.option("--store", metavar="DIR")
def command(**options: Any) -> None:
    """Command of `cellbench.api.result_pages.report`."""
    for path in report(**options):
        click.echo(path)
