"""`cellbench count`: cells in pictures of one's own, with a method that a run has trained."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellbench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from cellbench.engine.counting import TrainedCounter
    from cellbench.results.counts import Counted, CountTables
    from cellbench.results.trained import TrainedRun
    from cellbench.structures import Prediction

# More pictures than this are summed up in the terminal, not listed.
_MOST = 40


@click.command()
@click.argument("pictures", nargs=-1, metavar="PICTURE...")
@click.option(
    "--with", "named", metavar="RUN", help="A finished run: its folder, its record or its id."
)
@click.option(
    "--out", default="counts", show_default=True, metavar="DIR", help="Folder of the tables."
)
@click.option(
    "--scale",
    type=click.FloatRange(0.05, 20.0),
    default=1.0,
    show_default=True,
    help="2 where your cells are half as wide, in px, as those the run was trained on.",
)
@click.option(
    "--um-per-px",
    type=click.FloatRange(0, min_open=True),
    help="Edge of a pixel in micrometres: adds cells a square millimetre.",
)
@click.option("--no-pictures", is_flag=True, help="Write the tables alone.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--store", metavar="DIR", help="Folder of runs/; the record's or the working one.")
def command(
    pictures: tuple[str, ...],
    named: str | None,
    out: str,
    scale: float,
    um_per_px: float | None,
    no_pictures: bool,
    device: str,
    store: str | None,
) -> None:
    """Count the cells in PICTUREs, files or folders of them, with a run's method.

    Writes counts.csv (a line a picture), points.csv (a line a cell) and pictures with the cells
    marked. What is counted already is not counted again.
    """
    from rich.console import Console

    from cellbench.data.files import sha256_file
    from cellbench.engine.locks import hold
    from cellbench.results.counts import CountTables, shown_name
    from cellbench.results.trained import find_trained

    files = {shown_name(path): path for path in _files(pictures)}
    run = find_trained(_chosen(named, store), store)
    refused: list[str] = []
    hashes: dict[str, str] = {}
    for name, path in files.items():
        try:
            hashes[name] = sha256_file(path)
        except OSError as error:
            refused.append(f"{name} cannot be opened ({error.strerror}); see its rights.")
    folder = Path(out)
    busy = f"Another process is counting into {folder}; wait for it, or name another --out."
    with hold(folder, elsewhere="--out", busy=busy):
        tables = CountTables(folder, _method(run, scale, um_per_px), hashes)
        left = [(name, files[name], hashes[name]) for name in hashes if name not in tables.done]
        console = Console(highlight=False)
        if left:
            with console.status("Loading torch"):
                from cellbench.engine.counting import load_counter
            work = _Work(
                counter=load_counter(run, device=device),
                tables=tables,
                scale=scale,
                um_per_px=um_per_px,
                marked=None if no_pictures else folder / "pictures",
            )
            refused += work.all(left, console)
        _show(console, [tables.done[name] for name in files if name in tables.done], run, folder)
    if refused:
        raise UserError(
            f"{len(refused)} of {len(files)} pictures could not be counted; what was counted is "
            f"in {folder}. The first: {refused[0]}"
        )


def _files(named: Sequence[str]) -> list[Path]:
    """The pictures that a user means, each once, folders in the order of their files' names."""
    from cellbench.data.images import SUFFIXES

    found: dict[Path, Path] = {}
    for text in named:
        place = Path(text)
        if place.is_dir():
            try:
                inside = sorted(
                    path
                    for path in place.iterdir()
                    if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
                )
            except OSError as error:
                raise UserError(
                    f"The folder {place} cannot be opened ({error.strerror}); see its rights."
                ) from None
            if not inside:
                raise UserError(
                    f"{place} holds no picture ({', '.join(sorted(SUFFIXES))}); name a folder that "
                    "does: folders in it are not looked through."
                )
        elif place.is_file():
            inside = [place]
        else:
            raise UserError(f"There is no picture or folder {text!r}.")
        for path in inside:
            found.setdefault(path.resolve(), path)
    if not found:
        raise UserError(
            "Name pictures or a folder of them: cellbench count photos/ --with runs/adi/<run>."
        )
    return list(found.values())


def _chosen(named: str | None, store: str | None) -> str:
    """The run that a user names; without one, a sentence that names those at hand."""
    if named is not None:
        return named
    from cellbench import paths
    from cellbench.results.trained import known_runs

    runs = known_runs(paths.store(store))
    if not runs:
        raise UserError(
            "--with names a finished run, and there is none here yet: cellbench run "
            "configs/dla_adi.py trains one."
        )
    listed = ", ".join(map(str, runs[:3])) + (f" and {len(runs) - 3} more" if runs[3:] else "")
    raise UserError(f"--with names a finished run; at hand are {listed}.")


def _method(run: "TrainedRun", scale: float, um_per_px: float | None) -> dict[str, Any]:
    """What counts, as a folder of counts remembers it."""
    record = run.record
    keys = ("run_id", "method", "dataset", "protocol", "split", "seed", "thresholds")
    kept = {key: record[key] for key in keys}
    return {**kept, "mae": record["metrics"]["mae"], "scale": scale, "um_per_px": um_per_px}


class _Work:
    """Pictures, one after the other, with what is done and the time left."""

    def __init__(
        self,
        *,
        counter: "TrainedCounter",
        tables: "CountTables",
        scale: float,
        um_per_px: float | None,
        marked: Path | None,
    ) -> None:
        """Remember how to count, and where the results go."""
        self.counter = counter
        self.tables = tables
        self.scale = scale
        self.um_per_px = um_per_px
        self.marked = marked

    def all(self, pictures: Sequence[tuple[str, Path, str]], console: "Console") -> list[str]:
        """Count every picture that can be read.

        Args:
            pictures: name, file and SHA-256.
            console: shows how far it is.

        Returns:
            A sentence for every picture that could not be counted.
        """
        from cellbench.cli.progress import pictures_progress
        from cellbench.data.images import image_size

        refused: list[str] = []
        areas: dict[str, int] = {}
        for name, path, _ in pictures:
            try:
                width, height = image_size(path)
                areas[name] = width * height
            except UserError as error:
                refused.append(str(error))
        with pictures_progress(console, sum(areas.values())) as advance:
            for name, path, sha256 in pictures:
                if name not in areas:
                    continue
                area = areas[name]
                try:
                    counted, found, pixels = self._one(name, path, sha256, _part(advance, area))
                except UserError as error:
                    refused.append(str(error))
                    advance(area)
                else:
                    self._mark(pixels, found, counted, path)
                    self.tables.add(counted, found)
        return refused

    def _one(
        self, name: str, path: Path, sha256: str, seen: Callable[[float], None]
    ) -> "tuple[Counted, Prediction, Any]":
        """Count a picture: its line, what was found, its pixels."""
        from cellbench.data.images import read_image
        from cellbench.results.counts import Counted

        pixels = read_image(path)
        height, width = pixels.shape[:2]
        found = self.counter.count(pixels, scale=self.scale, name=name, seen=seen)
        per_mm2 = None
        if self.um_per_px is not None:
            per_mm2 = found.count / (width * height * self.um_per_px**2) * 1e6
        points = None if found.points is None else len(found.points)
        return Counted(name, found.count, per_mm2, (width, height), points, sha256), found, pixels

    def _mark(self, pixels: Any, found: "Prediction", counted: "Counted", path: Path) -> None:
        """Write the picture with its cells marked."""
        if self.marked is None or found.points is None:
            return
        import io

        from cellbench.data.files import write_atomically
        from cellbench.drawing import overlay

        caption = f"{counted.count:.1f} cells: {path.name}"
        stream = io.BytesIO()
        overlay(pixels, predicted=found.points, caption=caption).save(stream, "PNG")
        # Pictures of one name from two folders must not write over each other.
        write_atomically(self.marked / f"{path.stem}-{counted.sha256[:8]}.png", stream.getvalue())


def _part(advance: Callable[[float], None], area: int) -> Callable[[float], None]:
    """From shares of a picture to px of it."""
    return lambda share: advance(share * area)


def _show(
    console: "Console", counted: "Sequence[Counted]", run: "TrainedRun", folder: Path
) -> None:
    """The counts as a table, their sum, and how far off the method is on its own test part."""
    from rich.table import Table

    from cellbench.results.tables import plain

    dense = any(one.per_mm2 is not None for one in counted)
    if 0 < len(counted) <= _MOST:
        table = Table()
        table.add_column("picture", overflow="fold")
        table.add_column("cells", justify="right")
        if dense:
            table.add_column("cells/mm²", justify="right")
        for one in counted:
            density = [f"{one.per_mm2:.1f}"] if one.per_mm2 is not None else [""] if dense else []
            table.add_row(plain(one.image), f"{one.count:.1f}", *density)
        console.print(table)
    record = run.record
    noun = "picture" if len(counted) == 1 else "pictures"
    said = [
        f"{sum(one.count for one in counted):.1f} cells in {len(counted)} {noun}.",
        f"{record['method']} was {record['metrics']['mae']:.2f} cells off on average on the test "
        f"images of {record['dataset']}; on pictures unlike those it may be farther off.",
        f"Tables and pictures: {folder}",
    ]
    for sentence in said:
        console.print(plain(sentence), markup=False, soft_wrap=True)
