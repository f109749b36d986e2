"""Lookup of finished runs for reuse: their records, configs and weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cellbench import paths
from cellbench.config.compose import config_of_record
from cellbench.config.part_options import check_untrusted_parts
from cellbench.config.schema import ResolvedConfig
from cellbench.errors import UserError
from cellbench.experiment import Experiment
from cellbench.files.reading import MAX_SMALL_BYTES, read_json
from cellbench.hashes import is_intact
from cellbench.records.kept_models import find_model, kept_models
from cellbench.records.record_file import find_record, read_record
from cellbench.records.run_files import PLAN, RECORD, WEIGHTS


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """Finished run whose weights are available.

    Attributes:
        record: JSON of its record.
        config: config that it was trained with, whatever the config files hold today; see
            `recorded_config`.
        record_file: file of its record.
        weights: file of its weights.
        source: name of the record, as the start of a sentence.
    """

    record: dict[str, Any]
    config: ResolvedConfig
    record_file: Path
    weights: Path
    source: str

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights that the record scored; see `scored_sha256`."""
        return scored_sha256(self.record)


def scored_sha256(record: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the weights that a record scored; None in records without that key."""
    scored = record.get("scored_weights")
    return None if scored is None else str(scored["sha256"])


def unbound_notice(record: Mapping[str, Any]) -> str | None:
    """Return a sentence for the user if a record does not identify its weights, else None."""
    if scored_sha256(record) is not None:
        return None
    return (
        "This record was made before records held the hash of their weights, so it was not "
        "checked that these weights are the ones that it scored."
    )


def recorded_config(record: Mapping[str, Any], source: str = "The record") -> ResolvedConfig:
    """Load the config in a record, whatever the config files hold today.

    Call `check_untrusted_parts` before building anything from it. That imports the classes of its
    parts, and with them torch, which a table of finished counts does not need.

    Args:
        record: JSON from `read_record`; not trusted.
        source: name of the record, as the start of a sentence.

    Raises:
        UserError: this cellbench cannot use it, or its hash is not the recorded one.
    """
    config = config_of_record(record["config"], source)
    if config.hash != record["config_hash"]:
        raise UserError(
            f"{source} has a config that does not have the hash that the record gives; restore it "
            "from version control."
        )
    return config


def weights_match_record(weights: Path, record: Mapping[str, Any]) -> bool:
    """Check that weights exist and are of a training of the recorded length."""
    if not weights.is_file():
        return False
    plan = weights.with_name(PLAN)
    if not plan.is_file():
        return True
    try:
        known = read_json(plan, most=MAX_SMALL_BYTES)
        return bool(known["iterations"] == record["iterations"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_record_file(named: str, store: str | None) -> Path:
    """Find a record by its file or by its run's id.

    Args:
        named: path or id that the user gave.
        store: store that the user gave; None for the working one.

    Raises:
        UserError: there is no such record.
    """
    path = Path(named)
    if path.is_file():
        return path
    if len(named) >= 16 and set(named) <= set("0123456789abcdef"):
        known = find_record(paths.store(store), named)
        if known is not None:
            return known
    raise UserError(
        f"There is no record {named!r}; name a file in leaderboards/records, or a run's id."
    )


def store_of(path: Path, store: str | None) -> Path:
    """Return the given store; if None, the one that a record lies in, else the working one."""
    whole = path.resolve()
    if store is None and whole.parts[-4:-2] == ("leaderboards", "records"):
        return whole.parents[3]
    return paths.store(store)


def find_trained(named: str, store: str | None) -> TrainedRun:
    """Find a finished run by its folder, record file or id, or a kept model by its name.

    Args:
        named: folder, file, id or name that the user gave.
        store: store that the user gave; None for the record's own or the working one.

    Raises:
        UserError: there is no such run, or its weights are gone.
    """
    place = Path(named)
    if not place.exists():
        place = find_model(named) or place
    if place.is_dir():
        if not (place / RECORD).is_file():
            raise UserError(
                f"{place} holds no {RECORD}, as the folder of a finished run does; finish it with "
                "`cellbench run`, or name another one."
            )
        path, weights = place / RECORD, place / WEIGHTS
        source, record = f"The record {path}", read_record(path)
        config = recorded_config(record, source)
    else:
        try:
            path = find_record_file(named, store)
        except UserError:
            near = get_close_matches(named, [model.name for model in kept_models()], n=1)
            hint = f"did you mean the model {near[0]!r}? Or " if near else ""
            raise UserError(
                f"There is no finished run {named!r}; {hint}name its folder in runs/, its record "
                "in leaderboards/records, its id, or a model that `cellbench models list` has."
            ) from None
        source, record = f"The record {path}", read_record(path)
        config = recorded_config(record, source)
        beside = path.with_name(WEIGHTS)
        weights = Experiment.of_record(record, config).folder(store_of(path, store)) / WEIGHTS
        if path.name == RECORD and beside.is_file():
            weights = beside
    if not is_intact(record):
        raise UserError(
            f"The record {path} was changed after it was written: its hash does not fit what it "
            "says; restore it from version control, or run again."
        )
    if not weights_match_record(weights, record):
        check_untrusted_parts(config.plain(), source)  # reported before missing weights
        raise UserError(
            f"The weights of this run are gone from {weights.parent}; train it again there with "
            f"`cellbench run`: {record['method']} on {record['dataset']}, split {record['split']}."
        )
    return TrainedRun(record, config, path, weights, source)
