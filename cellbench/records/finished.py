"""Which runs have a record, decided from records alone, without torch.

A run is known by its config (recipe and length are in it), the manifest of its set, protocol,
split and seed. The two things that only a started run knows follow from these: the steps from
config and split, or, of a budget, from the first start, so that any record of the same budget is
the run; and the weights, which are compared with the files that are here now: a record from
random filters is no longer the run once its weights file is there, nor is one from another file.
"""

from contextlib import suppress
from functools import cached_property
from pathlib import Path

from cellbench import paths
from cellbench.errors import UserError
from cellbench.experiment import Key
from cellbench.files.writing import sha256_file
from cellbench.records.record_file import parse_record, read_record, records_folder
from cellbench.records.result_cache import read_results, write_results
from cellbench.records.store import load_records
from cellbench.records.summaries import Run, summarise


class Finished:
    """The records of some sets, found by what their runs are.

    Attributes:
        runs: all of them.
        problems: one sentence for every file that is no usable record.
    """

    def __init__(self, store: Path, datasets: list[str]) -> None:
        """Read them.

        Raises:
            UserError: a folder of records cannot be read.
        """
        self.store = store
        self.runs: list[Run] = []
        self.problems: list[str] = []
        self._found: dict[Key, Run] = {}
        self._seen: set[Path] = set()
        for dataset in datasets:
            loaded = load_records(store, dataset)
            self.problems += loaded.problems
            for run in loaded.runs:
                self._take(run)
            folder = records_folder(store) / dataset
            self._seen |= set(folder.glob("*.json"))

    @cached_property
    def weights_files(self) -> dict[str, str]:
        """SHA-256 of the weights files of this machine by architecture; empty without files.

        A file is read once while it stays as it is.
        """
        folder = (paths.home() / "weights").resolve()
        known = read_results("weights", folder)
        found: dict[str, tuple[str, bytes]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with suppress(OSError):
                status = path.stat()
                stamp = f"{status.st_mtime_ns} {status.st_size}"
                entry = known.get(path.name)
                fresh = entry is not None and entry[0] == stamp
                found[path.name] = entry if entry and fresh else (stamp, sha256_file(path).encode())
        if found != known:
            write_results("weights", folder, found)
        return {
            Path(name).stem: digest.decode("ascii", "replace")
            for name, (_, digest) in found.items()
        }

    def find(self, key: Key | None) -> Run | None:
        """The record of a run; of several with one budget, the one with most steps."""
        return None if key is None else self._found.get(key)

    def update(self, dataset: str, key: Key | None) -> Run | None:
        """As `find`, with what others have written since."""
        if key is None:
            return None
        _, _, protocol, split, seed = key
        folder = records_folder(self.store) / dataset
        for path in sorted(folder.glob(f"*-{protocol}-s{split}-r{seed}-*.json")):
            if path not in self._seen:
                self.add(path)
        return self._found.get(key)

    def add(self, path: Path) -> Run | None:
        """Take in one record file; None if it is not usable."""
        self._seen.add(path)
        try:
            run = summarise(parse_record(path), path)
        except UserError as error:
            self.problems.append(str(error))
            return None
        if run.edited:
            self.problems.append(f"The record {path} {run.edited}; it does not count.")
            return None
        self._take(run)
        return run

    def _take(self, run: Run) -> None:
        self.runs.append(run)
        key = (run.config_hash, run.manifest_hash, run.protocol, run.split, run.seed)
        known = self._found.get(key)
        if known is not None and known.iterations >= run.iterations:
            return
        if self._weights_fit(run):
            self._found[key] = run

    def _weights_fit(self, run: Run) -> bool:
        """Whether a run today would start from the weights of a record, as far as one can see."""
        if run.weights_sha256 is not None:
            here = self.weights_files
            source, _, arch = run.weights_source.partition(":")
            if source == "torchvision" and arch.partition(".")[0] not in here:
                return True
            return not here or run.weights_sha256 in here.values()
        if run.weights_source != "random" or not self.weights_files:
            return True
        path = records_folder(self.store) / run.dataset / run.file
        try:
            wanted = read_record(path)["weights"].get("wanted")
        except UserError:
            return False
        return wanted not in self.weights_files
