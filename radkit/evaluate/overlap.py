"""Overlap and surface distance of masks, case by case, so that no mean can hide a miss."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._optional import optional
from ..errors import EvaluationError
from .figures import BLUE, GREY, RED, drawing
from .intervals import Interval, estimate
from .tables import Table, Tabled, subgroups

NAMES = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95, mm", "error_ml": "volume error, ml"}
STATES = {
    "missed": "truth but no prediction (Dice and NSD 0, no distance)",
    "false alarm": "prediction but no truth (Dice and NSD 0, no distance)",
    "empty": "rightly so, in truth and prediction (in no mean of overlap or distance)",
}


class Case(NamedTuple):
    """One truth and its prediction; ``error_ml`` is predicted minus true volume; nan is what is not defined."""

    patient: Any
    state: str  # both, missed, false alarm or empty
    dice: float
    nsd: float
    hd95_mm: float
    truth_ml: float
    error_ml: float


@dataclass(frozen=True, repr=False)
class Segmentation(Tabled):
    """The ``cases`` that `segmentation` compared; ``mean("dice")`` and the table say what they come to."""

    cases: tuple[Case, ...]
    tolerance_mm: float

    def values(self, name: str = "dice") -> np.ndarray:
        """One figure of every case: dice, nsd, hd95_mm, truth_ml or error_ml; nan where it is not defined."""
        return np.array([getattr(case, name) for case in self.cases])

    def mean(self, name: str = "dice", among: Sequence[int] | None = None) -> Interval:
        """The mean of a figure over the cases that have it, or those of them whose indices are ``among``."""
        values, chosen = self.values(name), range(len(self.cases)) if among is None else among
        known = [i for i in chosen if not np.isnan(values[i])]
        return estimate(values[known], patient=[self.cases[i].patient for i in known])

    @property
    def table(self) -> Table:
        """Means with their intervals, the median, the worst case, and what is in no mean."""
        rows, notes = [], [f"NSD at a tolerance of {self.tolerance_mm:g} mm."]
        for key, name in NAMES.items():
            known = sorted((x for x in self.values(key) if x == x), key=abs, reverse=key in ("dice", "nsd"))
            if known:
                rows.append((name, self.mean(key), np.median(known), known[-1], f"{len(known)} of {len(self.cases)}"))
        for state, meaning in STATES.items():
            people = [str(case.patient) for case in self.cases if case.state == state]
            if people:
                notes.append(f"{state} {len(people)}, {meaning}: {', '.join(people[:8])}{' …' * (len(people) > 8)}.")
        return Table("Segmentation", ("", "mean", "median", "worst", "cases in it"), rows, notes)

    def worst(self, k: int | None = 5) -> Table:
        """The ``k`` cases with the lowest Dice, the larger lesion first where it is the same; None: all."""
        cases = sorted(self.cases, key=lambda c: (c.dice if c.dice == c.dice else 2, -c.truth_ml))[:k]
        columns = ("patient", "found", "Dice", "NSD", "HD95, mm", "truth, ml", "error, ml")
        return Table(f"The worst {len(cases)} of {len(self.cases)} cases", columns, cases, claim="failures")

    def by(self, groups: Any) -> Table:
        """The means in each group; ``groups`` names that of each case, or is a dict: ``{"scanner": [...], ...}``."""
        keys = ("dice", "nsd", "hd95_mm")
        columns = ("cases", *(NAMES[key] for key in keys))
        return subgroups(groups, len(self.cases), columns, lambda of: [len(of), *(self.mean(key, of) for key in keys)])

    def plot(self) -> Any:
        """Every case as a dot, from the lowest Dice up, with the mean across; the worst three are named."""
        cases, mean = sorted((c for c in self.cases if c.dice == c.dice), key=lambda c: c.dice), self.mean()
        if not cases:
            raise EvaluationError("There is nothing to draw: truth and prediction are empty in every case.")
        lost = sum(case.dice == 0 for case in cases)
        tail = f"{lost} of {len(cases)} without any overlap" if lost else f"the worst {cases[0].dice:.2f}"
        with drawing(f"Mean Dice {mean.value:.2f}, {tail}") as (figure, axes):
            axes.axhspan(*np.nan_to_num((mean.low, mean.high), nan=mean.value), color=GREY, alpha=0.2, lw=0)
            axes.axhline(mean.value, color=GREY, ls="--", label=f"mean {mean}")
            for state, look in {"both": ("o", BLUE), "missed": ("X", RED), "false alarm": ("^", RED)}.items():
                x = [i for i, case in enumerate(cases, 1) if case.state == state]
                y = [cases[i - 1].dice for i in x]
                axes.plot(x, y, look[0], color=look[1], ms=11, clip_on=False, label=f"{state}: {len(x)}")
            people = ", ".join(str(case.patient) for case in cases[:3])
            axes.set(xlabel=f"cases from the worst ({people}) to the best", ylabel="Dice", ylim=(0, 1), xticks=[])
            axes.legend(loc="lower right")
        return figure


def segmentation(
    truth: Any, prediction: Any, *, spacing: Any = None, tolerance_mm: float = 2.0, patient: Sequence | None = None
) -> Segmentation:
    """Compare masks: Dice, surface distances and volumes, with an interval on each mean.

    Parameters
    ----------
    truth, prediction : highdicom.Volume or array, or sequences of them
        Masks on one grid, (slice, row, column) or (row, column); every label above 0 counts as inside.
    spacing : sequence of float, optional
        Spacing of arrays in mm, axis by axis. A Volume knows its own; without one there are no distances and volumes.
    tolerance_mm : float
        How far off a surface may lie and still be right, for the NSD: take what two readers differ by.
    patient : sequence, optional
        To whom each pair belongs; without it each pair is a patient of its own.

    Raises
    ------
    EvaluationError
        If the two are on different grids, hold nan or fractions (probabilities), or their numbers differ.

    Notes
    -----
    By MONAI: Dice (Dice, Ecology 1945;26:297); HD95, the larger of the two 95th percentiles of the distances from
    one surface to the other; NSD (Nikolov et al., J Med Internet Res 2021;23:e26151). A surface is the voxels that
    have a neighbour outside. What an empty mask gives, the table states.
    """
    pairs = read_pairs(truth, prediction, spacing, patient)
    return Segmentation(tuple(_case(tolerance_mm, *pair) for pair in pairs), tolerance_mm)


def _case(tolerance_mm: float, patient: Any, truth: np.ndarray, found: np.ndarray, mm: Any) -> Case:
    from scipy.ndimage import find_objects

    if any(mask.dtype.kind == "f" and (mask % 1).any() for mask in (truth, found)):
        raise EvaluationError("A mask holds fractions. If they are probabilities, choose a threshold: found > 0.5.")
    truth, found = truth > 0, found > 0
    both = truth.any() and found.any()
    state = "both" if both else "missed" if truth.any() else "false alarm" if found.any() else "empty"
    dice, hd95 = np.nan if state == "empty" else 0.0, np.nan
    nsd, ml = (np.nan, np.nan) if mm is None else (dice, float(np.prod(mm)) / 1000)
    if both:
        metrics, torch = optional("monai.metrics"), optional("torch")
        box = find_objects((truth | found).astype(np.uint8))[0]
        y, x = (torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (truth, found))
        dice, how = metrics.compute_dice(x, y).item(), {"include_background": True, "spacing": mm}
        if mm is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MONAI calls itself in a way that it warns of
                nsd = metrics.compute_surface_dice(x, y, [tolerance_mm], **how).item()
                hd95 = metrics.compute_hausdorff_distance(x, y, percentile=95, **how).item()
    return Case(patient, state, dice, nsd, hd95, float(truth.sum() * ml), (int(found.sum()) - int(truth.sum())) * ml)


def read_pairs(truth: Any, prediction: Any, spacing: Any, patient: Sequence | None) -> Iterator[tuple]:
    """Patient, truth, prediction and spacing (mm, or None) of each pair; what is not on one grid is refused."""
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
    grids: list[Any] = [a.shape, b.shape]
    if a.shape == b.shape and len(volumes) == 2 and not np.allclose(truth.affine, prediction.affine, atol=1e-3):
        grids = [np.round(volume.affine, 3).tolist() for volume in volumes]
    if grids[0] != grids[1]:
        raise EvaluationError(
            f"Truth and prediction of {name} are not on one grid: the truth has {grids[0]}, the prediction {grids[1]}. "
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
