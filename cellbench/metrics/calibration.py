"""Calibration of counts on validation images, for every method: identity, offset, scale or line.

A method that counts scored candidates chooses the threshold of least error on the validation
images, which fits its counts to them. The sum of a density map or the output of a regression has
no such parameter, so its count is corrected as `scale * count + offset`. The offset is
proportional to the area of the image: the counts of its parts then still add up to the whole's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellbench.structures import Prediction

Kind = Literal["identity", "offset", "scale", "line"]
Values = NDArray[np.float64]

KINDS: tuple[Kind, ...] = get_args(Kind)
_PARAMETERS: dict[Kind, int] = {"identity": 0, "offset": 1, "scale": 1, "line": 2}

FEWEST_IMAGES = 5
"""With fewer validation images the spread of their errors is too uncertain to select by."""

# Relative tolerance of a fit. Below it a pivot or 1 - leverage is rounding error: the columns are
# collinear, or one image alone determines the fit.
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class CountCalibration:
    """Correction of counts, with the errors that it was selected by.

    Attributes:
        kind: which parameters were fitted.
        scale: corrected cells per counted cell.
        offset: cells added to an image of `area_px`.
        area_px: mean area of the validation images, px of the original images.
        full_from: counted cells, in an image of `area_px`, from which the full offset is added;
            below, it shrinks in proportion, since no validation image was sparser, and an empty
            image keeps a count of zero.
        images: number of validation images.
        mae: MAE of these before correction; None where it was not measured.
        mae_corrected: MAE of these after correction with the parameters fitted to them.
        mae_left_out: leave-one-out MAE by kind: each image is corrected by the fit to the others;
            only kinds that could be fitted.
    """

    kind: Kind = "identity"
    scale: float = 1.0
    offset: float = 0.0
    area_px: float = 1.0
    full_from: float = 0.0
    images: int = 0
    mae: float | None = None
    mae_corrected: float | None = None
    mae_left_out: Mapping[str, float] = field(default_factory=dict)

    @property
    def expected_mae(self) -> float | None:
        """Expected MAE of new images: leave-one-out, else `mae`; None if neither was measured."""
        return self.mae_left_out.get(self.kind, self.mae)

    def added(self, counts: ArrayLike, areas_px: ArrayLike) -> Values:
        """Compute the cells that the offset adds to images, (N,).

        Args:
            counts: (N,) before correction.
            areas_px: (N,) areas, px of the original images.
        """
        p, a = np.asarray(counts, dtype=np.float64), np.asarray(areas_px, dtype=np.float64)
        share = a / self.area_px
        whole = self.full_from * share
        # the full offset where `full_from` is 0
        part = np.divide(p.clip(0, None), whole, out=np.ones_like(p + a), where=whole > 0)
        return self.offset * share * part.clip(None, 1)

    def correct(self, counts: ArrayLike, areas_px: ArrayLike) -> Values:
        """Compute corrected counts of images, (N,); clipped at 0 except by the identity.

        Args:
            counts: (N,) before correction.
            areas_px: (N,) areas, px of the original images.
        """
        p = np.asarray(counts, dtype=np.float64)
        if self.kind == "identity":
            return p
        return (self.scale * p + self.added(p, areas_px)).clip(0, None)

    def correct_prediction(self, found: Prediction, size: tuple[float, float]) -> Prediction:
        """Correct the count of an image and its density map, which then sums to it; points stay.

        Args:
            found: the prediction before correction.
            size: (width, height), px of the original images.
        """
        if self.kind == "identity":
            return found
        counts, areas_px = np.array([found.count]), np.array([size[0] * size[1]])
        count, density = float(self.correct(counts, areas_px)[0]), found.density
        if density is not None:
            evenly = float(self.added(counts, areas_px)[0]) / max(density.size, 1)
            mapped = self.scale * density + evenly if count > 0 else np.zeros_like(density)
            density = mapped.astype(np.float32)
        return replace(found, count=count, density=density)

    def plain(self) -> dict[str, Any]:
        """Return JSON-able values, for a record."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "CountCalibration":
        """Build a calibration from the values of `plain`; the identity for None."""
        names = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in (values or {}).items() if key in names})


def choose_calibration(
    truth: ArrayLike, counts: ArrayLike, areas_px: ArrayLike
) -> CountCalibration:
    """Select the correction of counts that validation images support.

    Every kind is fitted by least squares and scored by leave-one-out mean absolute error. The kind
    of fewest parameters is selected whose error exceeds the least one by at most one standard
    error of the mean difference on the same images: a correction is made only where it is clearly
    better than none. Of an offset and a scale, which both have one parameter, the better comes
    first.

    Args:
        truth: (N,) annotated cells of the images.
        counts: (N,) predicted counts.
        areas_px: (N,) areas of the images, px of the original images.

    Returns:
        The identity with fewer than `FEWEST_IMAGES` images, or where nothing can be fitted. Counts
        that are all zero determine no scale, and counts proportional to the areas no line; a fit
        whose scale is not above zero is rejected.

    Raises:
        ValueError: the arrays differ in length, a number is not finite, or an area not positive.

    Source: Allen, "The relationship between variable selection and data augmentation and a method
        for prediction", Technometrics 16:125, 1974 (an image left out, from one fit); Breiman,
        Friedman, Olshen & Stone, "Classification and Regression Trees", 1984, section 3.4.3 (the
        rule of one standard error).
    Differs: the standard error is that of the difference of the errors of the same images, not of
        one mean, for most of what an error varies with is the image.
    """
    g, p, a = (np.asarray(x, dtype=np.float64).reshape(-1) for x in (truth, counts, areas_px))
    if not g.size == p.size == a.size:
        raise ValueError(f"{g.size} true counts, {p.size} counts and {a.size} areas do not match")
    if not (np.isfinite(g).all() and np.isfinite(p).all() and np.isfinite(a).all()):
        raise ValueError("a count or an area that is not a finite number cannot be calibrated")
    if (a <= 0).any():
        raise ValueError("an image without an area cannot be calibrated")
    if not g.size:
        return CountCalibration()
    area_px = float(a.mean())
    share = a / area_px
    facts: dict[str, Any] = {"area_px": area_px, "images": int(g.size)}
    facts["mae"] = float(np.abs(p - g).mean())
    found = {kind: _fit(kind, g, p, share) for kind in KINDS} if g.size >= FEWEST_IMAGES else {}
    errors = {kind: np.abs(g - fit.left_out) for kind, fit in found.items() if fit is not None}
    kind = _simplest(errors) if errors else "identity"
    fit = found.get(kind)
    scale, offset = (1.0, 0.0) if fit is None else (fit.scale, fit.offset)
    full_from = float((p / share).min()) if offset else 0.0
    chosen = CountCalibration(kind, scale, offset, full_from=max(full_from, 0.0), **facts)
    mae_corrected = float(np.abs(chosen.correct(p, a) - g).mean())
    left_out = {str(name): float(error.mean()) for name, error in errors.items()}
    return replace(chosen, mae_corrected=mae_corrected, mae_left_out=left_out)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Fit of one kind to all images, and its (N,) leave-one-out corrected counts."""

    scale: float
    offset: float
    left_out: Values


def _fit(kind: Kind, g: Values, p: Values, share: Values) -> _Fit | None:
    """Fit the truth to counts and areas by least squares; None where they do not determine it."""
    if kind == "identity":
        return _Fit(1.0, 0.0, p)
    known = p if kind == "offset" else np.zeros_like(p)
    columns = {"offset": [share], "scale": [p], "line": [p, share]}[kind]
    norms = [float(np.linalg.norm(column)) for column in columns]
    if min(norms) == 0 or g.size <= len(columns):
        return None
    design = np.stack(columns, axis=1) / norms
    q, r = np.linalg.qr(design)
    leverage = np.square(q).sum(axis=1)
    if np.abs(np.diag(r)).min() < _SINGULAR or (1 - leverage).min() < _SINGULAR:
        return None
    values = np.linalg.solve(r, q.T @ (g - known)) / norms
    scale = 1.0 if kind == "offset" else float(values[0])
    offset = 0.0 if kind == "scale" else float(values[-1])
    if kind != "offset" and scale * norms[0] <= _SINGULAR * float(np.linalg.norm(g)):
        return None
    residuals = g - known - q @ (q.T @ (g - known))
    return _Fit(scale, offset, (g - residuals / (1 - leverage)).clip(0, None))


def _simplest(errors: Mapping[Kind, Values]) -> Kind:
    """Select the kind of fewest parameters that is not clearly worse than the best one."""
    mean = {kind: float(error.mean()) for kind, error in errors.items()}
    best = min(mean, key=lambda kind: (mean[kind], _PARAMETERS[kind]))
    worse = {kind: error - errors[best] for kind, error in errors.items()}  # zeros for `best`
    return next(
        kind
        for kind in sorted(mean, key=lambda kind: (_PARAMETERS[kind], mean[kind]))
        if worse[kind].mean() <= worse[kind].std(ddof=1) / np.sqrt(worse[kind].size)
    )
