"""`cellbench data fetch`: download published data sets."""

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cellbench.errors import UserError


@click.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="SET...")
@click.option("--url", help="Get it from this address of an archive; for one set.")
@click.option("--force", is_flag=True, help="Fetch it although it is on disk.")
def command(names: tuple[str, ...], url: str | None, force: bool) -> None:
    """Download data sets, check them against what was published, and store them.

    A download that was cut off goes on where it stopped. $CELLBENCH_MIRROR names a folder on
    another server that holds the archives.
    """
    from cellbench.data.fetch import fetch_set
    from cellbench.data.named_dataset import find_dataset
    from cellbench.data.own_sets.own_dataset import OwnSet
    from cellbench.data.stored_set import is_on_disk

    if url and len(names) > 1:
        raise UserError(f"--url is the address of one set, and {len(names)} are named.")
    for name in names:
        if name.endswith("-sim"):
            raise UserError(
                f"{name} is drawn and not downloaded; `cellbench data show {name}` shows it."
            )
    datasets = [find_dataset(name) for name in names]
    for dataset in datasets:
        if isinstance(dataset, OwnSet):
            raise UserError(
                f"{dataset.name} is a set of your own pictures, which no server has; `cellbench "
                f"data import {dataset.name} --own --from DIR --force` replaces it."
            )
    failures = []
    for dataset in datasets:
        if is_on_disk(dataset.name) and not force:
            click.echo(f"{dataset.name} is on disk already; --force fetches it again.")
            continue
        try:
            with _Bars(dataset.name) as bars:
                stored = fetch_set(
                    dataset, url=url, force=force, progress=bars.bytes, import_progress=bars.images
                )
        except UserError as error:
            failures.append(str(error))
            if len(datasets) > 1:  # the others are still fetched
                click.echo(f"cellbench: {error}", err=True)
            continue
        click.echo(f"{dataset.name}: {len(stored)} images in {stored.folder}")
    if len(failures) == 1 and len(datasets) == 1:
        raise UserError(failures[0])
    if failures:
        raise UserError(f"{len(failures)} of {len(datasets)} sets could not be fetched.")


class _Bars:
    """Progress bars of a download: one for its bytes, then one for the images stored."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.console = Console(stderr=True)
        self.running: Progress | None = None
        self.task: TaskID | None = None
        self.storing = False

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def bytes(self, done: int, total: int | None) -> None:
        """Show the number of bytes downloaded."""
        if self.running is None or self.storing:
            self.storing = False
            self._start(
                DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), done=done, of=total
            )
        self._update(done, total)

    def images(self, done: int, total: int) -> None:
        """Show the number of images stored."""
        if self.running is None or not self.storing:
            self.storing = True
            self._start(MofNCompleteColumn(), TextColumn("images"), done=done, of=total)
        self._update(done, total)

    def _start(self, *columns: ProgressColumn, done: int, of: int | None) -> None:
        self._stop()
        self.running = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.running.start()
        # Bytes of an earlier attempt count as completed, so that they are not part of the rate.
        self.task = self.running.add_task(self.name, total=of, completed=done)

    def _update(self, done: int, total: int | None) -> None:
        if self.running is not None and self.task is not None:
            self.running.update(self.task, completed=done, total=total)

    def _stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None
