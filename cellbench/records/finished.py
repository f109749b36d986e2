"""Lookup of finished runs in their records, without torch.

A run is identified by its config (with recipe and length), the manifest of its set, protocol,
split and seed. Its steps follow from config and split; with a budget, they are fixed at the first
start, so any record of the same budget matches. Its weights are compared with the files present
now: a record from random filters no longer matches once its weights file is there, nor does one
from another file.

Whether a run is finished is decided in three steps, each of which knows more than the one before:

- here, for the plan of a sweep, without building anything: what is not known speaks for a record;
- `cellbench.engine.request.find_finished`, for `cellbench run`, with this lookup, and returns only
  what it is sure of: the starting weights are on this machine, and a budget has fixed its steps;
- `cellbench.engine.run.run_prepared`, once network and steps are there, by the run id.

A run that a sweep starts goes through all three, so that no record is made twice.
`cellbench.records.trained_runs.find_trained` asks another question: whether a record's weights are
still there.
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


class FinishedRuns:
    """Finished runs of some sets, looked up by key.

    Attributes:
        runs: all runs.
        problems: one sentence per file that is not a usable record.
    """

    def __init__(self, store: Path, datasets: list[str]) -> None:
        """Load the records of some sets.

        Raises:
            UserError: a folder of records cannot be read.
        """
        self.store = store
        self.runs: list[Run] = []
        self.problems: list[str] = []
        self._found: dict[Key, Run] = {}
        self._seen: set[Path] = set()
        for dataset in datasets:
            # Listed first: `update` loads what another process writes meanwhile.
            self._seen |= set((records_folder(store) / dataset).glob("*.json"))
            loaded = load_records(store, dataset)
            self.problems += loaded.problems
            for run in loaded.runs:
                self._add_run(run)

    @cached_property
    def weights_files(self) -> dict[str, str]:
        """SHA-256 of the weights files of this machine by architecture; empty without files.

        Hashes are cached until a file changes.
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
        """Return the run of a key, or None; of several with one budget, the one of most steps."""
        return None if key is None else self._found.get(key)

    def update(self, dataset: str, key: Key | None) -> Run | None:
        """Return the run of a key as `find` does, after loading records written since."""
        if key is None:
            return None
        _, _, protocol, split, seed = key
        folder = records_folder(self.store) / dataset
        for path in sorted(folder.glob(f"*-{protocol}-s{split}-r{seed}-*.json")):
            if path not in self._seen:
                self.add(path)
        return self._found.get(key)

    def add(self, path: Path) -> Run | None:
        """Load one record file and return its run; None if it is not usable."""
        self._seen.add(path)
        try:
            run = summarise(parse_record(path), path)
        except UserError as error:
            self.problems.append(str(error))
            return None
        if run.edited:
            self.problems.append(f"The record {path} {run.edited}; it does not count.")
            return None
        self._add_run(run)
        return run

    def _add_run(self, run: Run) -> None:
        self.runs.append(run)
        key = (run.config_hash, run.manifest_hash, run.protocol, run.split, run.seed)
        known = self._found.get(key)
        if known is not None and known.iterations >= run.iterations:
            return
        if self._weights_fit(run):
            self._found[key] = run

    def _weights_fit(self, run: Run) -> bool:
        """Check that a run today would start from a record's weights, as far as is known."""
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
