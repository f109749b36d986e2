"""`cellbench records`: add records from other machines."""

from collections import Counter
from pathlib import Path

import click


@click.group()
def command() -> None:
    """Take in records that were made elsewhere."""


@command.command("add")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--store", metavar="DIR", help="Folder of leaderboards/ that gets them.")
@click.option("--dry-run", is_flag=True, help="Check them and copy nothing.")
def add(source: Path, store: str | None, dry_run: bool) -> None:
    """Check every record below DIR and copy those that are sound and new.

    Hashes, run ids, metrics and points are computed anew; where the data set is on disk, its
    annotations and splits are compared too. DIR may be a whole store: copies of records in its
    runs/ and reports in its grids/ are passed over. Nothing is overwritten: another result of a run
    that has a record is named and stays where it is. Exit code 1 if a record was not taken in.
    """
    from rich.console import Console

    from cellbench import paths
    from cellbench.ranking.contributions import Outcome, add_records

    console = Console(highlight=False, soft_wrap=True)
    found: Counter[Outcome] = Counter()
    with console.status("Checking records") as status:
        for one in add_records(paths.store(store), source, dry_run=dry_run):
            found[one.outcome] += 1
            status.update(f"Checked {found.total()} records")
            if one.reason:
                console.print(f"{one.outcome.value}: {one.reason}", markup=False)
    words = {outcome: outcome.value for outcome in Outcome}
    if dry_run:
        words[Outcome.ADDED] = "would be added"
    console.print(
        f"{found.total()} records: "
        + ", ".join(f"{found[outcome]} {words[outcome]}" for outcome in Outcome if found[outcome]),
        markup=False,
    )
    if found[Outcome.REFUSED] or found[Outcome.CLASH]:
        raise SystemExit(1)
