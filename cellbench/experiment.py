"""Identity of a run: all that determines its result, its run id and folder names; no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellbench.config.schema import ResolvedConfig
from cellbench.hashes import run_id

Key = tuple[str, str, str, int, int]
"""Config hash, manifest hash, protocol, split, seed."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Identity of a run: all that determines its result.

    The config, the set, protocol, split and seed are known before anything is built. The starting
    weights are found with the network, and the number of steps follows from all of these, or from
    a budget at the first start: `dataclasses.replace` adds both.

    Attributes:
        config: complete; `config.data.set` is the set on disk.
        manifest_hash: of the set's revision; None for a simulated set that is not generated yet.
        protocol: name.
        split: of the protocol.
        seed: of all random numbers.
        weights: SHA-256 of the pretrained weights; None for random ones.
        iterations: training steps; 0 while unknown.
    """

    config: ResolvedConfig
    manifest_hash: str | None
    protocol: str
    split: int
    seed: int
    weights: str | None = None
    iterations: int = 0

    @classmethod
    def of_record(cls, record: Mapping[str, Any], config: ResolvedConfig) -> "Experiment":
        """Return the experiment of a record.

        Args:
            record: as it was read.
            config: see `cellbench.records.trained_runs.recorded_config`.
        """
        shared = {key: record[key] for key in ("manifest_hash", "protocol", "split", "seed")}
        weights = record["weights"]["sha256"]
        return cls(config, **shared, weights=weights, iterations=record["iterations"])

    @property
    def id(self) -> str:
        """Run id: SHA-256, hexadecimal; its first 16 characters name the record.

        Raises:
            ValueError: the set's revision or the number of steps is still unknown.
        """
        if self.manifest_hash is None or not self.iterations:
            raise ValueError("a run has an id when its set and its steps are known")
        return run_id(
            self.config.plain(), self.config.recipe, self.manifest_hash, self.weights,
            self.protocol, self.split, self.seed, self.iterations,
        )  # fmt: skip

    @property
    def key(self) -> Key | None:
        """Key to look up a finished run without torch; None while the set is not generated."""
        if self.manifest_hash is None:
            return None
        return (self.config.hash, self.manifest_hash, self.protocol, self.split, self.seed)

    def folder(self, store: Path) -> Path:
        """Return the folder of the run's log, checkpoints and pictures.

        Its name ends in a hash of all but the number of steps, which a budget fixes only later.
        """
        identity = {
            "config": self.config.hash,
            "manifest": self.manifest_hash,
            "weights": self.weights,
            "protocol": self.protocol,
            "split": self.split,
            "seed": self.seed,
        }
        parts = f"{self.protocol}-s{self.split}-r{self.seed}"
        name = _folder_name(self.config.method.name, parts, identity)
        return store / "runs" / self.config.data.set / name

    def sweep_folder(self, store: Path, label: str) -> Path:
        """Return the folder of the claim, log and failure of the run in a sweep.

        Args:
            store: see `cellbench.paths.store`.
            label: readable name of the combination.
        """
        identity = [self.config.hash, self.protocol, self.split, self.seed]
        name = _folder_name(label, f"s{self.split}-r{self.seed}", identity)
        return store / "runs" / "sweeps" / self.config.data.set / name


def _folder_name(label: str, parts: str, identity: Any) -> str:
    """Return a file name of a readable label and a hash of the identity."""
    slug = "".join(c if c.isalnum() else "-" for c in label.lower())[:40]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{slug}-{parts}-{digest[:10]}"
