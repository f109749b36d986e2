"""One calibration of counts for every method: nothing, an offset, a scale or a line.

A method that counts scored candidates chooses its threshold by the least error on the validation
images, which fits its count to them. The sum of a map or the output of a regression has nothing
like it, so its count is corrected as `scale * count + offset`, the offset in proportion to the
area of the image: the counts of the parts of a picture then still add up to that of the whole.
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
"""With fewer validation images the spread of their errors is too uncertain to choose by."""

# Relative; nearer than that to another column, or to an image that decides a fit alone, and the
# rest is rounding.
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class CountCalibration:
    """How counts are corrected, and what it was chosen on.

    Attributes:
        kind: which of the numbers were fitted.
        scale: corrected cells per counted cell.
        offset: cells added to an image of `area_px`.
        area_px: mean area of the validation images, px of the original images.
        full_from: counted cells, in an image of `area_px`, from which the offset is added whole;
            it is less in proportion below, since nothing is known of sparser images than those it
            was chosen on, and a blank one stays blank.
        images: how many it was chosen on.
        mae: of these as they were counted; None where it was not measured.
        mae_corrected: of these once corrected, by what was fitted to them.
        mae_left_out: by kind, each image corrected by what the others give; where a kind could be
            fitted.
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
        """The error of images that it was not fitted to; None where it was not measured."""
        return self.mae_left_out.get(self.kind, self.mae)

    def added(self, counts: ArrayLike, areas_px: ArrayLike) -> Values:
        """The cells that the offset adds to images, (N,).

        Args:
            counts: (N,) as they were counted.
            areas_px: (N,) areas, px of the original images.
        """
        p, a = np.asarray(counts, dtype=np.float64), np.asarray(areas_px, dtype=np.float64)
        share = a / self.area_px
        whole = self.full_from * share
        # 1 where there is nothing to be less than
        part = np.divide(p.clip(0, None), whole, out=np.ones_like(p + a), where=whole > 0)
        return self.offset * share * part.clip(None, 1)

    def correct(self, counts: ArrayLike, areas_px: ArrayLike) -> Values:
        """Corrected counts of images, (N,); never below zero unless they are left as they are.

        Args:
            counts: (N,) as they were counted.
            areas_px: (N,) areas, px of the original images.
        """
        p = np.asarray(counts, dtype=np.float64)
        if self.kind == "identity":
            return p
        return (self.scale * p + self.added(p, areas_px)).clip(0, None)

    def correct_prediction(self, found: Prediction, size: tuple[float, float]) -> Prediction:
        """Correct the count of an image, and its map alike, which then sums to it; points stay.

        Args:
            found: as it was counted.
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
        """JSON-able, for a record."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "CountCalibration":
        """Read what `plain` gave; the identity of a record that has none."""
        names = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in (values or {}).items() if key in names})


def choose_calibration(
    truth: ArrayLike, counts: ArrayLike, areas_px: ArrayLike
) -> CountCalibration:
    """The correction of counts that validation images ask for.

    Every kind is fitted by least squares, and each image is corrected by what all the others give.
    The kind of least mean absolute error is compared with those of fewer parameters, on the same
    images: the one of fewest parameters is taken whose error exceeds it by at most one standard
    error of the mean difference. So a correction is made only where it is clearly better than
    none. Of an offset and a scale, which have as many parameters, the better one is compared.

    Args:
        truth: (N,) annotated cells of the images.
        counts: (N,) counted ones.
        areas_px: (N,) areas of the images, px of the original images.

    Returns:
        The identity where there are fewer than `FEWEST_IMAGES` images, or nothing can be fitted:
        a scale of counts that are all zero, a line of counts that are all the same. A line that
        falls, or a scale below zero, is none.

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
    """What a kind has for all images, and (N,) counts corrected by what the others give."""

    scale: float
    offset: float
    left_out: Values


def _fit(kind: Kind, g: Values, p: Values, share: Values) -> _Fit | None:
    """Least squares of the truth on counts and areas; None where they do not decide it."""
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
    """The kind of fewest parameters that is not clearly worse than the best one."""
    mean = {kind: float(error.mean()) for kind, error in errors.items()}
    best = min(mean, key=lambda kind: (mean[kind], _PARAMETERS[kind]))
    worse = {kind: error - errors[best] for kind, error in errors.items()}  # nowhere, of the best
    return next(
        kind
        for kind in sorted(mean, key=lambda kind: (_PARAMETERS[kind], mean[kind]))
        if worse[kind].mean() <= worse[kind].std(ddof=1) / np.sqrt(worse[kind].size)
    )
