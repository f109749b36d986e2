"""`cellbench new`: write a working package with one part, as a template."""

from pathlib import Path
from shlex import quote

import click

from cellbench.errors import UserError

KINDS = ("matcher", "conv", "decoder", "method", "dataset")


@click.command(name="new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--from", "pictures", metavar="DIR", type=click.Path(path_type=Path),
    help="Of a data set: its annotated pictures, from which its config is measured.",
)  # fmt: skip
def command(kind: str, name: str, pictures: Path | None) -> None:
    """Write a package with a matcher, conv, decoder, method or data set, in a folder NAME.

    It works as it is: install it, check it, train it, then change it. The pictures of a data set
    are a.png and so on, each with its dots in a_dots.png or lines of "x y" in a.txt.
    """
    from cellbench.testing.scaffold import write_package

    if pictures is not None and kind != "dataset":
        raise UserError(f"A {kind} has no pictures; leave --from out.")
    measured = write_package(kind, name, Path(), pictures)
    click.secho(f"{name}/{name}/{kind}.py", bold=True)
    if measured is not None:
        why = "half the median distance of neighbours"
        if measured.spacing_px is None:
            why = "for no picture has two cells, whose distance it would follow from"
        click.echo(
            f"{measured.images} pictures, {measured.cells} cells; match radius "
            f"{measured.radius_px:g} px, {why}."
        )
    click.echo(f"Next:\n  pip install -e ./{name}\n  cellbench check {name}")
    if kind == "dataset":
        click.echo(f"  cellbench data import {name} --from {quote(str(pictures or 'DIR'))}")
        click.echo(f"  cellbench run methods/fcrn.py --dataset {name}")
    else:
        click.echo(f"  cellbench run {name}:methods/{name}.py --dataset adi")
        click.echo(f"  cellbench compare {name} --datasets adi")
