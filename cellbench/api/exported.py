"""`cellbench.export`: write a trained network as ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbench.counting.network_export import ExportedNetwork
    from cellbench.engine.work_progress import Display


def export(
    run: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    trust_weights: bool = False,
    store: str | None = None,
    display: "Display | None" = None,
) -> "ExportedNetwork":
    """Write the network of a finished run as ONNX, for programs without PyTorch.

    RUN is what `cellbench count --with` takes. Beside the file a JSON file has what goes before the
    network (scale, normalisation, padding) and how cells are read from its answers (thresholds,
    correction of counts); the same text is in the metadata of the file. It is kept only if
    onnxruntime gives what PyTorch gives. The packages come with `pip install 'cellbench[onnx]'`.

    Args:
        run: a finished run (its folder, its record or its id), or a name that `cellbench models
            list` has.
        out: the file; by default one in the working folder, named after method and set.
        force: replace a file that is there.
        trust_weights: export weights that are not the ones of the record.
        store: folder of runs/; the record's or the working one.
        display: where progress is shown; nowhere by default.

    Returns:
        The files, and the largest difference between PyTorch and onnxruntime.

    Raises:
        UserError: there is no such run, its method cannot be exported, or the file exists.
    """
    from cellbench.engine.work_progress import Display
    from cellbench.records.trained_runs import find_trained

    trained = find_trained(str(run), store)
    with (display or Display()).status("Loading torch"):
        from cellbench.counting.network_export import export_network
    return export_network(
        trained, None if out is None else Path(out), trust_weights=trust_weights, force=force
    )
