"""`cellbench count`: count pictures and print the counts."""

from typing import TYPE_CHECKING, Any

import click

from cellbench.api.counts import count
from cellbench.cli.docs import Documented
from cellbench.cli.limits import EDGE_UM, SCALE, max_file, max_picture
from cellbench.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.counting.folder_count import FolderCount

# Keys of `point_exports.WRITERS`, repeated since its import would slow down --help.
PROGRAMS = ("napari", "qupath", "imagej", "cellcounter", "coco")
_DEFAULT_USED = (
    "Counted with {name}, which comes with cellbench and finds bright nuclei on a dark ground; for "
    "other cells name what was trained on them: --with RUN, or a name of `cellbench models list`."
)

_OWN_USED = "Counted with {name} of your own models, in place of the one that comes with cellbench."

# With more pictures than this the terminal shows only the sum.
_MOST = 40
_MOST_NOTES = 8


@click.command(cls=Documented, function=count)
@click.argument("pictures", nargs=-1, metavar="PICTURE...")
@click.option("--with", "run", metavar="RUN")
@click.option("--out", default="counts", show_default=True, metavar="DIR")
@click.option("--scale", type=SCALE, default=1.0, show_default=True)
@click.option("--um-per-px", type=EDGE_UM)
@click.option("--channel", metavar="N|NAME")
@click.option("--page", metavar="N|Z=N,T=N|all")
@click.option("--project", type=click.Choice(["max", "mean", "min", "median"]))
@click.option("--range", type=(float, float), metavar="LOW HIGH")
@click.option("--invert", is_flag=True)
@click.option("--recursive", is_flag=True)
@click.option("--roi", metavar="PATH")
@click.option("--annotated", metavar="NAME")
@click.option("--group", metavar="PATTERN")
@click.option("--no-pictures", is_flag=True)
@click.option("--also", type=click.Choice(PROGRAMS), multiple=True)
@click.option("--excel", is_flag=True)
@click.option("--device", default="auto", show_default=True)
@max_picture
@max_file
@click.option("--trust-weights", is_flag=True)
@click.option("--store", metavar="DIR")
def command(**options: Any) -> None:
    """Command of `cellbench.api.counts.count`."""
    from rich.console import Console

    from cellbench.cli.progress import pictures_display

    console = Console(highlight=False)
    display = pictures_display(
        console, lambda text: console.print(text, markup=False, soft_wrap=True)
    )
    found = count(**options, display=display).found
    _show(console, found, default=options["run"] is None)
    if found.refused:
        raise RunError(
            f"{len(found.refused)} of {found.given} pictures could not be counted; what was "
            f"counted is in {found.folder}, the reasons in skipped.csv there. The first: "
            f"{found.refused[0]}"
        )


def _show(console: "Console", found: "FolderCount", *, default: bool) -> None:
    """Print the counts as a table, warnings, the sum, and the method's expected error."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from cellbench.counting.doubt_sentences import expected_error_text, sum_text
    from cellbench.counting.experiment_means import sentences
    from cellbench.ranking.tables import plain
    from cellbench.records.kept_models import DEFAULT, is_shipped

    used = _DEFAULT_USED if is_shipped(DEFAULT) else _OWN_USED
    counted = found.counted
    dense = any(one.per_mm2 is not None for one in counted)
    if 0 < len(counted) <= _MOST:
        table = Table()
        table.add_column("picture", overflow="fold")
        table.add_column("cells", justify="right")
        doubt = any(one.interval is not None for one in counted)
        if doubt:
            table.add_column("90 %", justify="right")
        if dense:
            table.add_column("cells/mm²", justify="right")
        for one in counted:
            density = [f"{one.per_mm2:.1f}"] if one.per_mm2 is not None else [""] if dense else []
            ends = "" if one.interval is None else "–".join(f"{end:.0f}" for end in one.interval)
            shown = [f"{one.count:.1f}", *([ends] if doubt else []), *density]
            table.add_row(Text(plain(one.image)), *shown)
        console.print(table)
    for sentence in found.warnings:
        console.print(f"[bold]{escape(plain(sentence))}[/]", soft_wrap=True)
    for sentence in (*_notes(found), *_other_files(found), *_regions(found)):
        console.print(plain(sentence), markup=False, soft_wrap=True)
    record = found.run.record
    if not counted:  # the error that follows says why
        return
    for sentence in (
        *([used.format(name=DEFAULT)] if default else []),
        sum_text(counted, estimated=any(one.means is not None for one in found.estimates)),
        *sentences(found.estimates),
        f"{expected_error_text(record, found.run.weights.parent)}; on pictures unlike those it may "
        "be farther off.",
        f"Tables and pictures: {found.folder}",
    ):
        console.print(plain(sentence), markup=False, soft_wrap=True)


def _notes(found: "FolderCount") -> list[str]:
    """Return the notes on how pictures were read, each with its number of pictures."""
    occurrences: dict[str, int] = {}
    for one in found.counted:
        for note in filter(None, one.notes.split("; ")):
            occurrences[note] = occurrences.get(note, 0) + 1
    listed = sorted(occurrences.items(), key=lambda item: -item[1])
    shown = [f"{number} of {len(found.counted)} pictures: {note}." for note, number in listed]
    if len(shown) > _MOST_NOTES:
        more = len(shown) - _MOST_NOTES
        shown = [*shown[:_MOST_NOTES], f"{more} more notes are in the column notes of counts.csv."]
    ends = {one.range for one in found.counted}
    if len(ends) > 1:
        shown.append(
            f"{len(ends)} ranges of numbers were chosen, one for each picture (columns black and "
            "white); --range LOW HIGH sets one for all."
        )
    return shown


def _other_files(found: "FolderCount") -> list[str]:
    """Return a sentence with the number of skipped files; empty if there are none."""
    others = len(found.skipped) - len(found.refused)
    if not others:
        return []
    below = any("--recursive" in reason for _, reason in found.skipped)
    noun = "file" if others == 1 else "files"
    hint = ", some of them folders, which --recursive looks into" if below else ""
    return [f"{others} other {noun} in the folder not counted{hint}: see skipped.csv."]


def _regions(found: "FolderCount") -> list[str]:
    """Return a sentence with the cells by region name, over all pictures; empty if none."""
    sums: dict[str, int] = {}
    for one in found.regions:
        sums[one.region] = sums.get(one.region, 0) + one.count
    listed = [f"{cells} in {name}" for name, cells in list(sums.items())[:_MOST_NOTES]]
    more = "" if len(sums) <= _MOST_NOTES else f" and {len(sums) - _MOST_NOTES} more"
    return [f"Cells by region: {', '.join(listed)}{more}; see regions.csv."] if sums else []
