"""`cellbench view`: open the viewer, or print the agreement of annotators."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cellbench.api.viewer import count_agreement, view
from cellbench.cli.docs import Documented
from cellbench.cli.limits import max_file, max_picture
from cellbench.errors import UserError

if TYPE_CHECKING:
    from cellbench.counting.view_server import ViewServer


def _given(context: click.Context, option: click.Parameter, name: str) -> str:
    """Refuse an empty name, since its changes would be written to corrected.csv."""
    from click.core import ParameterSource

    source = context.get_parameter_source(str(option.name))
    if not name and source is ParameterSource.COMMANDLINE:
        raise UserError(
            "--annotator is empty, as a variable of the shell is that was not set; give a name."
        )
    return name


@click.command(cls=Documented, function=view)
@click.argument("counts", default="counts")
@click.option("--annotator", default="", metavar="NAME", callback=_given)
@click.option("--pictures", metavar="DIR")
@click.option("--port", type=click.IntRange(0, 65535), default=0)
@click.option("--next-useful", is_flag=True)
@click.option("--with", "run", metavar="RUN")
@click.option("--device", default="auto", show_default=True)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--agreement", is_flag=True, help="Print how far the method and all annotators agree, and stop."
)
@max_picture
@max_file
def command(counts: str, no_browser: bool, agreement: bool, **options: Any) -> None:
    """Command of `cellbench.api.viewer.view`."""
    if agreement:
        _check_alone(click.get_current_context(), ["no_browser", *options])
        _print_agreement(counts)
        return
    from rich.console import Console

    from cellbench.cli.progress import pictures_display
    from cellbench.ranking.tables import plain

    console = Console(highlight=False)
    display = pictures_display(
        console, lambda text: console.print(plain(text), markup=False, soft_wrap=True)
    )

    def ready(server: "ViewServer") -> None:
        click.echo(f"{server.address}\nCtrl-C ends it; every change is kept at once.")
        if not no_browser:
            import webbrowser

            webbrowser.open(server.address)

    try:
        view(counts, **options, display=display, ready=ready)
    except KeyboardInterrupt:
        click.echo("Closed.")


def _check_alone(context: click.Context, others: Sequence[str]) -> None:
    """Refuse options given beside --agreement that would be ignored."""
    from click.core import ParameterSource

    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        if option.name in others and source is ParameterSource.COMMANDLINE:
            raise UserError(
                f"{option.opts[0]} has no use beside --agreement, which prints and stops; leave "
                "one of the two out."
            )


def _print_agreement(counts: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cellbench.ranking.tables import plain

    found = count_agreement(counts)
    console = Console(highlight=False)
    each = Table(title="Counts", title_justify="left")
    each.add_column("picture", overflow="fold")
    for name in found.counters:
        each.add_column(name, justify="right")
    for image, row in found.counts.items():
        each.add_row(Text(plain(image)), *("–" if n is None else f"{n:.1f}" for n in row))
    pairs = Table(title="Differences, cells a picture", title_justify="left")
    for head in ("first", "second", "pictures", "mean difference", "bias", "95 % limits"):
        pairs.add_column(head, justify="left" if head in ("first", "second") else "right")
    for pair in found.pairs:
        limits = "–" if pair.low is None else f"{pair.low:+.1f} to {pair.high:+.1f}"
        numbers = (str(pair.pictures), f"{pair.mae:.2f}", f"{pair.bias:+.2f}", limits)
        pairs.add_row(pair.first, pair.second, *numbers)
    console.print(each)
    if not found.pairs:
        console.print("Nobody has looked through a picture yet: there is nothing to compare.")
        return
    console.print(pairs)
