"""Typed model of the record of a run, and its JSON Schema for those who submit one.

Files of all versions are validated here; `record.schema.json` beside this module is written by

    python -m cellbench.records.model > cellbench/records/record.schema.json

The model is a view of the file: pydantic turns 218 into 218.0 where a float is expected, so hashes
are computed from the JSON as it was read (`Record.raw`). Unknown keys are kept.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)

from cellbench.errors import UserError

SCHEMA = 2
"""Version of the records that are written. Version 1 does not list the parts of `data.prepare` and
stores points as float32."""

MOST_ROWS = 1_000_000

Number = Annotated[float, Field(ge=-1e12, le=1e12)]
Measured = Annotated[float, Field(ge=0, le=1e12)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Cells = Annotated[float, Field(ge=0, le=1e9)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Line = Annotated[str, Field(max_length=20_000)]
Title = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Plugin(_Part):
    """A registered part that a run used, and the package that it came from."""

    role: Line | None = None
    name: Line | None = None
    distribution: Line | None = None
    version: Line | None = None


class Weights(_Part):
    """The pretrained weights that a training started from."""

    source: Line
    sha256: Sha256 | None
    wanted: Line | None = Field(
        None, description="Name of the file that was wanted where random filters took its place."
    )


class ScoredWeights(_Part):
    """The weights whose scores a record holds."""

    sha256: Sha256


class Selection(_Part):
    """The rule by which the weights were selected, and their step."""

    step: Cells | None
    rule: Line = ""
    validation_mae: Measured | None = None


class Calibration(_Part):
    """The correction of counts, selected on the validation images; see `CountCalibration`."""

    kind: Literal["identity", "offset", "scale", "line"]
    scale: Number = 1.0
    offset: Number = Field(0.0, description="Cells, in an image of `area_px`.")
    area_px: Annotated[float, Field(gt=0, le=1e12)] = 1.0
    full_from: Measured = Field(
        0.0, description="Counted cells, in an image of `area_px`, from which the offset is whole."
    )
    images: Count = 0
    mae: Measured | None = Field(None, description="Of the counts as they were.")
    mae_corrected: Measured | None = None
    mae_left_out: Annotated[dict[str, Measured], Field(max_length=100)] = Field(
        default_factory=dict,
        description="By kind, each image corrected by what the others give.",
    )


class Image(_Part):
    """The scores of one test image; pairs and misses are null without points."""

    id: Line
    truth: Cells = Field(description="Annotated cells.")
    prediction: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(description="Predicted cells.")
    raw: Annotated[float, Field(ge=-1e9, le=1e9)] | None = Field(
        None, description="Predicted cells before the correction, where there is one."
    )
    tp: Count | None = None
    fp: Count | None = None
    fn: Count | None = None
    game1: Cells | None = None
    game2: Cells | None = None
    game3: Cells | None = None


class RadiusScores(_Part):
    """Localisation scores at one match radius."""

    radius_px: Annotated[float, Field(ge=0, le=1e6)]
    precision: Fraction | None = None
    recall: Fraction | None = None
    f1: Fraction | None = None


class Metrics(_Part):
    """Scores over all test images; later versions may add more."""

    mae: Number | None
    f1_by_radius: Annotated[list[RadiusScores], Field(max_length=10_000)] | None = None
    nap_by_level: dict[str, Fraction | None] | None = None
    __pydantic_extra__: dict[str, Number | list[Any] | dict[str, Any] | None]


class CurvePoint(_Part):
    """One validation during a training."""

    step: Cells | None = None
    loss: Number | None = None
    validation_mae: Measured | None = None


class PointsFile(_Part):
    """The file of predicted points beside a record."""

    file: Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]{1,251}\.npz$")]
    sha256: Sha256
    points_sha256: Sha256 | None = Field(
        None, description="Of the points themselves, whatever program compressed them; version 2."
    )


class Timing(_Part):
    """Seconds, speed and memory of a run; never compared."""

    train_s: Measured | None = None
    step_s: Measured | None = None
    test_s: Measured | None = None
    images_per_s: Measured | None = None
    peak_memory_mb: Measured | None = None


def _apart(images: list[Image]) -> list[Image]:
    if len({image.id for image in images}) < len(images):
        raise ValueError("holds an image twice")
    return images


class Record(_Part):
    """The record of one finished run: config, data, training and scores.

    The keys of a file have the order of these fields.
    """

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=SCHEMA)] = 1
    run_id: RunId = Field(description="SHA-256 of all that decides the result.")
    method: Title = Field(description="Name with the keys that --set changed.")
    method_title: Line
    config: dict[str, Any] = Field(description="Resolved, defaults included.")
    config_hash: Line = Field(description="SHA-256 of the config.")
    recipe: Count = Field(description="Raised when a change of code alters results.")
    plugins: Annotated[list[Plugin], Field(max_length=10_000)]
    dataset: Name
    simulated: bool
    manifest_hash: Line = Field(description="Of the revision of the data set.")
    protocol: Name
    split: Annotated[int, Field(ge=0, le=10**6)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    iterations: Count = Field(description="Training steps.")
    epochs: Measured
    whole_epochs: Count | None = Field(
        None,
        description="Passes of the method's whole schedule; absent where the config asks for them.",
    )
    weights: Weights
    selection: Selection
    thresholds: dict[str, Number | None] = Field(description="Chosen on the validation part.")
    calibration: Calibration | None = Field(
        None, description="Absent where a threshold decides the count, and in older records."
    )
    parameters: Annotated[int, Field(ge=0, le=10**12)]
    gflops: Measured | None = Field(description="Of one image.")
    images: Annotated[list[Image], Field(max_length=MOST_ROWS), AfterValidator(_apart)]
    metrics: Metrics
    curve: Annotated[list[CurvePoint], Field(max_length=MOST_ROWS)]
    points: PointsFile | None = Field(description="Null for a method without points.")
    timing: Timing
    environment: dict[str, Any]
    content_hash: Line = Field(description="SHA-256 of the record without this key.")
    scored_weights: ScoredWeights | None = Field(None, description="Absent in older records.")
    groups: Annotated[dict[Line, Line], Field(max_length=MOST_ROWS)] | None = Field(
        None,
        description="By image, what it has in common with others; of sets of one's own that have "
        "groups.",
    )

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def raw(self) -> dict[str, Any]:
        """The JSON of the file, as it was read."""
        return self._raw

    @classmethod
    def parse(cls, raw: Any, what: str) -> "Record":
        """Validate the JSON of a record's file.

        Args:
            raw: parsed JSON.
            what: name of the file, as the start of a sentence.

        Raises:
            UserError: it is no record, or of a newer cellbench; one sentence that names the file
                and the first invalid place in it.
        """
        if not isinstance(raw, dict):
            raise UserError(f"{what} holds a {type(raw).__name__} where a JSON object is wanted.")
        version = raw.get("schema")
        if isinstance(version, int) and version > SCHEMA:
            raise UserError(
                f"{what} is of schema {version} and this cellbench reads those up to {SCHEMA}; "
                "upgrade it."
            )
        try:
            record = cls.model_validate(raw)
        except ValidationError as error:
            raise UserError(
                f"{what} is damaged ({_first(error, raw)}); restore it from version control, or "
                "delete it and run again."
            ) from None
        record._raw = raw
        if record.schema_version < 2:
            known = {(part.role, part.name) for part in record.plugins}
            names = [name for name in _prepared(raw["config"]) if ("transform", name) not in known]
            record.plugins += [Plugin(role="transform", name=name) for name in names]
        return record


def _prepared(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the parts of `data.prepare` in an unvalidated config."""
    data = config.get("data")
    parts = data.get("prepare") if isinstance(data, dict) else None
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and isinstance(part.get("type"), str):
            yield part["type"]


def _first(error: ValidationError, raw: Any) -> str:
    """Describe the first validation error, as a phrase with its place."""
    found = error.errors(include_url=False)[0]
    place, value = [], raw
    for key in found["loc"]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):  # it is missing, or names a branch of a union
            continue
        place.append(str(key))
    where = ".".join(place) or "it"
    if found["type"] == "missing":
        return f"{where} lacks {found['loc'][-1]!r}"
    if found["type"] == "value_error":
        return f"{where} {found['ctx']['error']}"
    return f"{where} is {str(value)[:40]!r}; {found['msg'][:200].lower()}"


def schema_text() -> str:
    """Return the JSON Schema of a record's file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | Record.model_json_schema(), indent=1)


if __name__ == "__main__":
    sys.stdout.write(schema_text() + "\n")
