"""`cellbench models`: list and add named models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click


@click.group()
def command() -> None:
    """List the trained methods that `cellbench count --with NAME` takes, and keep more."""


@command.command("list")
def list_models() -> None:
    """List the models by name: what each was trained on, how well it counts there, where it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cellbench.errors import UserError
    from cellbench.records.kept_models import DEFAULT, kept_models
    from cellbench.records.record_file import read_record
    from cellbench.records.run_files import RECORD

    table = Table(box=None, pad_edge=False)
    for head in ("name", "method", "trained on", "test MAE", "95 %", "mean count", "where"):
        table.add_column(head, overflow="fold", no_wrap=head == "name")  # to be copied
    for model in kept_models():
        try:
            record = read_record(model.folder / RECORD)
        except UserError as error:
            click.echo(f"cellbench: left out: {error}", err=True)
            continue
        truth = [image["truth"] for image in record["images"]]
        mae, *interval = _error(record, model.folder)
        cells = [
            model.name + (" *" if model.name == DEFAULT else ""),
            record["method"],
            record["dataset"],
            "-" if mae is None else f"{mae:.2f}",
            "-" if None in interval else "–".join(f"{end:.1f}" for end in interval),
            f"{sum(truth) / max(1, len(truth)):.1f}",
            "shipped" if model.shipped else str(model.folder),
        ]
        table.add_row(*map(Text, cells))
    console = Console(highlight=False)
    console.print(table)
    console.print("* counts where no --with is given")


def _error(record: Mapping[str, Any], folder: Path) -> tuple[float | None, ...]:
    """Return the MAE on pictures that a model was not trained on, and the ends of its interval."""
    from cellbench.data.splits import holds_out
    from cellbench.ranking.statistics import record_interval
    from cellbench.records.expected_error import cross_validated_error

    if not holds_out(record["protocol"]):
        return cross_validated_error(folder) or (None, None, None)
    return record["metrics"]["mae"], *(record_interval(record) or (None, None))


@command.command("add")
@click.argument("run", metavar="RUN")
@click.option("--name", required=True, help="What `--with` is to call it.")
@click.option("--half", is_flag=True, help="Keep its weights in half precision, scored as such.")
@click.option("--force", is_flag=True, help="Replace the model of that name.")
@click.option("--store", metavar="DIR", help="Folder of runs/.")
def add(run: str, name: str, half: bool, force: bool, store: str | None) -> None:
    """Keep a finished run under a name, for `cellbench count --with NAME` from any folder.

    Its record and weights are copied to $CELLBENCH_HOME/models. With --half the weights take half
    the place, and the record is of what they score: the data set has to be on disk.
    """
    import tempfile

    from cellbench.data.splits import holds_out
    from cellbench.records.kept_models import keep_model
    from cellbench.records.run_files import RECORD, WEIGHTS
    from cellbench.records.trained_runs import find_trained

    trained = find_trained(run, store)
    files = trained.record_file, trained.weights
    with tempfile.TemporaryDirectory(prefix="cellbench-model-") as temporary:
        if half:
            from cellbench.engine.half_precision import keep_in_half
            from cellbench.engine.work_progress import Display

            before = trained.record["metrics"]["mae"]
            place = Path(temporary)
            record = keep_in_half(trained, place, Display(say=click.echo))
            now = record["metrics"]["mae"]
            part = "Test MAE" if holds_out(record["protocol"]) else "MAE on its training images"
            click.echo(f"{part} in half precision {now:.3f}, {before:.3f} before.")
            files = place / RECORD, place / WEIGHTS
        folder = keep_model(*files, name, force=force)
    click.echo(f"Kept in {folder}; count with it: cellbench count PICTURE... --with {name}")
