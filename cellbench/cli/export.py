"""`cellbench export`: write a trained network as ONNX."""

from typing import Any

import click

from cellbench.api.exported import export
from cellbench.cli.docs import Documented


@click.command(cls=Documented, function=export)
@click.argument("run")
@click.option("--out", metavar="FILE")
@click.option("--force", is_flag=True)
@click.option("--trust-weights", is_flag=True)
@click.option("--store", metavar="DIR")
def command(**options: Any) -> None:
    """Command of `cellbench.api.exported.export`."""
    from rich.console import Console

    from cellbench.cli.progress import terminal_display
    from cellbench.ranking.tables import plain

    console = Console(highlight=False)
    done = export(**options, display=terminal_display(console))
    takes = "pictures of any size" if done.size is None else f"pictures of {done.size[0]} px"
    for line in (
        f"Written: {done.file}, which takes {takes}, and {done.sidecar}.",
        f"onnxruntime and PyTorch differ by at most {done.difference:.1e} of the largest answer.",
    ):
        console.print(plain(line), markup=False, soft_wrap=True)
