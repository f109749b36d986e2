"""All metrics of one method on one part of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellbench.errors import UserError
from cellbench.metrics import counting
from cellbench.metrics.average_precision import LEVELS, normalised_average_precision
from cellbench.metrics.localisation import Detection, detect, detect_over_radii, pool
from cellbench.structures import CellSample, Points, Prediction

GAME_LEVELS = (1, 2, 3)
RADIUS_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a run as a record holds them; plain JSON values throughout.

    Attributes:
        images: one dict per image: `id`, `truth`, `prediction`, `tp`, `fp`, `fn`, `game1` to
            `game3`; null where a prediction has no points (tp, fp, fn) or neither points nor
            density (game). Where counts are corrected, `raw` is the count before that.
        metrics: `images`, `cells`, `radius_px`; `mae`, `rmse`, `bias`, `mape`, `empty_images`,
            `empty_mae`, `r2`, `agreement_low`, `agreement_high`, `game1` to `game3`; `precision`,
            `recall`, `f1`, `f1_by_radius`, `nap`, `nap_by_level`, null without points (nap
            also without scores).
    """

    images: list[dict[str, Any]]
    metrics: dict[str, Any]


def score(
    truth: Sequence[CellSample],
    predictions: Sequence[Prediction],
    *,
    radius_px: float,
    candidates: Sequence[Prediction] | None = None,
    raw: Sequence[float] | None = None,
) -> Scores:
    """Score predictions of whole images.

    Args:
        truth: the annotations.
        predictions: one per image, in the same order.
        radius_px: match radius in px of the original image.
        candidates: per image every candidate before the threshold, for nAP, which uses the whole
            ranking; the predictions themselves if not given.
        raw: per image the count before calibration, for `raw_mae` and `raw_bias`; None for a
            method whose counts are not calibrated.

    Returns:
        Rows in the order of `truth`. Without images all metrics but the totals are null; where an
        annotation is a count without points, all metrics that need positions are.

    Raises:
        UserError: a count or a point is not a finite number.
        ValueError: the lists differ in length.
    """
    if len(truth) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions cannot be scored by {len(truth)} images")
    for sample, found in zip(truth, predictions, strict=True):
        arrays = (found.count, found.points, found.scores, found.density)
        if not all(a is None or np.isfinite(a).all() for a in arrays):
            raise UserError(
                f"The prediction for image {sample.image_id!r} holds a number that is not finite "
                f"(its count is {found.count}); a count, a point, a score and a density are "
                "finite numbers, so the method has diverged: train it again or mend it."
            )
    marked = all(sample.counted is None for sample in truth)
    if not marked:  # no annotated positions to compare with
        predictions = [Prediction(count=prediction.count) for prediction in predictions]
        candidates = None
    rows = [_row(s, p, radius_px) for s, p in zip(truth, predictions, strict=True)]
    metrics: dict[str, Any] = {
        "images": len(truth),
        "cells": sum(sample.count for sample in truth),
        "radius_px": float(radius_px),
    }
    metrics |= count_metrics(rows)
    if raw is not None:
        rows = [row | {"raw": float(count)} for row, count in zip(rows, raw, strict=True)]
        wanted = [sample.count for sample in truth]
        metrics |= {"raw_mae": counting.mae(wanted, raw), "raw_bias": counting.bias(wanted, raw)}
    metrics |= _localisation(truth, predictions, rows, radius_px)
    metrics |= _ranking(truth, predictions if candidates is None else candidates, radius_px)
    return Scores(images=rows, metrics=metrics)


def _row(sample: CellSample, prediction: Prediction, radius_px: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": sample.image_id,
        "truth": sample.count,
        "prediction": float(prediction.count),
        "tp": None,
        "fp": None,
        "fn": None,
    }
    if prediction.points is not None:
        found = detect(prediction.points, sample.points, radius_px)
        row |= {"tp": found.tp, "fp": found.fp, "fn": found.fn}
    where: dict[str, Any] | None = None
    if prediction.density is not None:  # the count is then its sum
        where = {"density": prediction.density}
    elif prediction.points is not None:
        where = {"points": prediction.points}
    for level in GAME_LEVELS:
        row[f"game{level}"] = where and counting.game(
            sample.points, size=sample.size, level=level, **where
        )
    return row


def count_metrics(images: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Compute the metrics that follow from the counts of the images, and the mean of every GAME.

    Args:
        images: per image `truth`, `prediction` and `game1` to `game3`, see `Scores`.

    Returns:
        `mae`, `rmse`, `bias`, `r2`, `agreement_low`, `agreement_high`, `mape`, `empty_images`,
        `empty_mae`, and `game1` to `game3`, null where an image has none. Without images all are
        null, except `empty_images`, which is 0.
    """
    g = [image["truth"] for image in images]
    p = [image["prediction"] for image in images]
    agreement = counting.bland_altman(g, p)
    metrics: dict[str, float | None] = {
        "mae": counting.mae(g, p),
        "rmse": counting.rmse(g, p),
        "bias": counting.bias(g, p),
        "r2": counting.r2(g, p),
        "agreement_low": agreement.low if agreement else None,
        "agreement_high": agreement.high if agreement else None,
    }
    relative = counting.mape(g, p)
    metrics |= {
        "mape": relative.percent,
        "empty_images": relative.empty_images,
        "empty_mae": relative.empty_mae,
    }
    for level in GAME_LEVELS:
        values = [image[f"game{level}"] for image in images]
        known = bool(values) and None not in values
        metrics[f"game{level}"] = float(np.mean(values)) if known else None
    return metrics


def _localisation(
    truth: Sequence[CellSample],
    predictions: Sequence[Prediction],
    rows: list[dict[str, Any]],
    radius_px: float,
) -> dict[str, Any]:
    points = _all_points(predictions)
    if points is None:
        return {"precision": None, "recall": None, "f1": None, "f1_by_radius": None}
    pooled = pool(Detection(row["tp"], row["fp"], row["fn"]) for row in rows)
    radii = [factor * radius_px for factor in RADIUS_FACTORS]
    curve = detect_over_radii(points, [sample.points for sample in truth], radii)
    return {
        "precision": pooled.precision,
        "recall": pooled.recall,
        "f1": pooled.f1,
        "f1_by_radius": [
            {"radius_px": r, "precision": d.precision, "recall": d.recall, "f1": d.f1}
            for r, d in zip(radii, curve, strict=True)
        ],
    }


def _ranking(
    truth: Sequence[CellSample], candidates: Sequence[Prediction], radius_px: float
) -> dict[str, Any]:
    """Compute the nAP at every level and its mean."""
    points = _all_points(candidates)
    scores = [c.scores for c in candidates if c.scores is not None]
    values: list[float | None] = [None]
    if points is not None and len(scores) == len(candidates):
        values = normalised_average_precision(
            points, scores, [sample.points for sample in truth], radius_px=radius_px
        )
    known = [value for value in values if value is not None]
    if not known:
        return {"nap": None, "nap_by_level": None}
    by_level = {f"{level:.2f}": v for level, v in zip(LEVELS, known, strict=True)}
    return {"nap": sum(known) / len(known), "nap_by_level": by_level}


def _all_points(predictions: Sequence[Prediction]) -> list[Points] | None:
    """Return the points of all images; None if a prediction has none, or without images."""
    points = [p.points for p in predictions if p.points is not None]
    return points if points and len(points) == len(predictions) else None
