"""`cellbench site`: write HTML pages of all results."""

import click

from cellbench.api.result_pages import site
from cellbench.cli.docs import Documented
from cellbench.cli.limits import max_sidecar


@click.command(cls=Documented, function=site)
@click.option("--out", default="site", show_default=True, metavar="DIR")
@click.option("--with-images", is_flag=True)
@click.option("--store", "stores", metavar="DIR", multiple=True)
@max_sidecar
def command(out: str, with_images: bool, stores: tuple[str, ...]) -> None:
    """Command of `cellbench.api.result_pages.site`."""
    from cellbench.ranking.tables import plain

    built = site(out, with_images=with_images, stores=stores)
    for problem in built.problems:
        click.echo(f"cellbench: left out: {plain(problem)}", err=True)
    click.echo(f"{built.folder / 'index.html'}: {built.pages} pages, {built.written} written.")
    if built.private:
        click.echo(
            f"It holds pictures of {', '.join(built.private)}, whose licences are not known: do "
            "not pass it on."
        )
