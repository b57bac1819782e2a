"""Truth and prediction come in pairs, on one grid: what does not fit is refused here, with both sides named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import EvaluationError


def read_pairs(truth: Any, prediction: Any, spacing: Any, patient: Sequence | None) -> Iterator[tuple]:
    """Patient, truth, prediction and spacing (mm, or None) of each pair; the arrays as they came."""
    sides = [[x] if hasattr(x, "array") or getattr(x, "ndim", 4) <= 3 else list(x) for x in (truth, prediction)]
    people = range(1, len(sides[0]) + 1) if patient is None else list(patient)
    counts = [len(sides[0]), len(sides[1]), len(people)]
    if min(counts) == 0 or len(set(counts)) > 1:
        raise EvaluationError("Each truth needs one prediction and one patient; {}, {} and {} came.".format(*counts))
    for number, (who, one, other) in enumerate(zip(people, *sides, strict=True), 1):
        yield who, *_pair(one, other, spacing, f"pair {number}")


def _pair(truth: Any, prediction: Any, spacing: Any, name: str) -> tuple[np.ndarray, np.ndarray, Any]:
    volumes = [mask for mask in (truth, prediction) if hasattr(mask, "array")]
    a, b = (np.asarray(getattr(mask, "array", mask)) for mask in (truth, prediction))
    sides: list[Any] = [a.shape, b.shape]
    if a.shape == b.shape and len(volumes) == 2 and not np.allclose(truth.affine, prediction.affine, atol=1e-3):
        sides = [np.round(volume.affine, 3).tolist() for volume in volumes]
    if sides[0] != sides[1]:
        raise EvaluationError(
            f"Truth and prediction of {name} are not on one grid: the truth has {sides[0]}, the prediction {sides[1]}. "
            "Resample the prediction to the truth's grid (a mask by the nearest neighbour)."
        )
    if a.ndim not in (2, 3) or not a.size:
        raise EvaluationError(f"(slice, row, column) or (row, column) was expected in {name}; {a.shape} came.")
    if any(x.dtype.kind not in "biuf" or not np.isfinite(x).all() for x in (a, b)):
        raise EvaluationError(f"There is nan, infinity or what is no number in {name}: neither inside nor outside.")
    mm = volumes[0].spacing if volumes else spacing
    if mm is not None and (len(mm) != a.ndim or not all(0 < side < np.inf for side in mm)):
        raise EvaluationError(f"A spacing above 0 mm for each of {a.ndim} axes was expected in {name}; {mm} came.")
    return a, b, None if mm is None else tuple(map(float, mm))
