"""Lesions, not voxels: which were found, at how many false alarms a scan, and which were not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import EvaluationError
from .figures import BLUE, drawing, whisker
from .intervals import Interval, estimate
from .overlap import read_pairs
from .tables import Table, Tabled, subgroups

RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # false positives per scan


class Lesion(NamedTuple):
    """A lesion of the truth; ``score`` is the highest of the findings that hit it, -inf where none does."""

    patient: Any
    scan: int
    number: int
    diameter_mm: float  # of the sphere of its volume
    centre: tuple[int, ...]  # (slice, row, column)
    score: float


class WorkingPoint(NamedTuple):
    """What is found when the findings below ``threshold`` are dropped."""

    threshold: float
    sensitivity: Interval
    fp_per_scan: Interval


@dataclass(frozen=True, repr=False)
class Detection(Tabled):
    """The ``lesions`` of the truth; of each scan its patient, and the scores of its ``false_alarms``."""

    lesions: tuple[Lesion, ...]
    patients: tuple
    false_alarms: tuple[np.ndarray, ...]
    iou: float

    @cached_property
    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """FROC: the thresholds from high to low, false positives per scan, sensitivity."""
        # MONAI's compute_froc_curve_data leaves out the lowest threshold.
        hits, false = np.array([x.score for x in self.lesions]), np.concatenate(self.false_alarms)
        thresholds = np.unique([*false, *hits[hits >= 0], np.inf])[::-1]
        false_at, hits_at = (np.sort(-x).searchsorted(-thresholds, "right") for x in (false, hits))
        return thresholds, false_at / len(self.patients), hits_at / (len(hits) or np.nan)

    def at(self, *, fp_per_scan: float | None = None, threshold: float = 0) -> WorkingPoint:
        """Sensitivity at a threshold, or at the lowest one with at most ``fp_per_scan`` false positives per scan."""
        if fp_per_scan is not None:
            threshold = float(self.curve[0][self.curve[1] <= fp_per_scan][-1])
        alarms = estimate([float((scores >= threshold).sum()) for scores in self.false_alarms], patient=self.patients)
        return WorkingPoint(threshold, _found(self.lesions, threshold), alarms)

    @property
    def table(self) -> Table:
        """Threshold and sensitivity at 1/8 to 8 false positives per scan."""
        rows = [(f"{rate:g}", *self.at(fp_per_scan=rate)) for rate in RATES]
        columns = ("allowed a scan", "threshold", "sensitivity", "false positives a scan")
        notes = [f"A hit is an IoU of at least {self.iou:g}. n counts patients."]
        return Table(f"{len(self.lesions)} lesions in {len(self.patients)} scans", columns, rows, notes)

    def by(self, groups: Any = "size", *, threshold: float = 0, edges_mm: Sequence[float] = (6, 10)) -> Table:
        """Sensitivity by "size", in classes of diameter parted at ``edges_mm``; or by group, one name a scan."""
        between = [f"{low:g} to under {high:g} mm" for low, high in pairwise(edges_mm)]
        order = [f"under {edges_mm[0]:g} mm", *between, f"{edges_mm[-1]:g} mm and over"]
        units = [[x] for x in self.lesions]  # what a group is made of: lesions, or the lesions of a scan
        if isinstance(groups, str):
            groups = [order[np.digitize(x.diameter_mm, edges_mm)] for x in self.lesions]
        else:
            order, units = [], [[x for x in self.lesions if x.scan == i] for i in range(len(self.patients))]

        def found(of: list[int]) -> tuple[str, Interval]:
            among = [x for i in of for x in units[i]]
            return f"{sum(x.score >= threshold for x in among)} of {len(among)}", _found(among, threshold)

        return subgroups(groups, len(units), ("found", "sensitivity"), found, "n counts patients.", order=order)

    def missed(self, *, threshold: float = 0) -> Table:
        """The lesions without a finding at the threshold, the largest first."""
        lost = sorted((x for x in self.lesions if x.score < threshold), key=lambda x: -x.diameter_mm)
        columns = ("patient", "scan", "lesion", "diameter, mm", "centre (slice, row, column)", "best score")
        return Table(f"{len(lost)} of {len(self.lesions)} lesions missed", columns, lost, claim="failures")

    def plot(self) -> Any:
        """The FROC curve, with the interval of the sensitivity at 1/8 to 8 false positives per scan."""
        if not self.lesions:
            raise EvaluationError("A FROC curve shows how many lesions are found, and the truth holds none.")
        share = self.at(fp_per_scan=1).sensitivity.value
        with drawing(f"{share:.0%} of the lesions found at one false positive a scan") as (figure, axes):
            _, alarms, found = self.curve
            axes.plot([0.01, *alarms.clip(0.01), 99], [0, *found, found[-1]], drawstyle="steps-post", color=BLUE)
            for rate in RATES:
                whisker(axes, rate, self.at(fp_per_scan=rate).sensitivity, fmt="o", color=BLUE)
            axes.set_xscale("log", base=2)
            axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
            axes.set(xlabel="false positives per scan", ylabel="lesions found", xlim=(0.1, 10), ylim=(0, 1.02))
        return figure


def detection(
    truths: Any, predictions: Any, *, patient: Sequence | None = None, spacing: Any = None,
    threshold: float = 0.1, iou: float = 0.1,
) -> Detection:  # fmt: skip
    """Match findings to lesions, scan by scan.

    Parameters
    ----------
    truths : highdicom.Volume or array, or a sequence of them
        Masks, (slice, row, column), one a scan. Each label is a lesion where any of them has one above 1, else each
        connected part (voxels that share a corner touch). A scan without lesions counts for the false positives.
    predictions : the same
        Probabilities (floating point, 0 to 1), of which each connected part at or above ``threshold`` is a finding
        that scores the highest in it; or masks (integers, read as the truths are), whose findings score 1.
    patient, spacing : sequences, optional
        To whom each scan belongs (else each is a patient of its own); the spacing of arrays in mm, axis by axis.
    iou : float
        A finding hits each lesion with which it shares a voxel, and this much (intersection over union) at least.

    Raises
    ------
    EvaluationError
        If a pair is not on one grid, holds nan, has no spacing, or a score is outside 0 to 1.

    Notes
    -----
    A finding that hits no lesion is a false positive; a second one on the same lesion is neither that nor a second
    hit. FROC as in LUNA16 (Setio, Med Image Anal 2017;42:1); an IoU of 0.1, so that one huge finding does not hit
    everything, as in nnDetection (Baumgartner, MICCAI 2021).
    """
    pairs = list(read_pairs(truths, predictions, spacing, patient))
    if any(mm is None for *_, mm in pairs):
        raise EvaluationError("Lesions have sizes in mm: give the spacing of the arrays, spacing=(slice, row, column).")
    by_label = [any(pair[k].dtype.kind != "f" and pair[k].max() > 1 for pair in pairs) for k in (1, 2)]
    lesions, alarms = [], []
    for scan, (who, truth, found, mm) in enumerate(pairs):
        values, mask = (found, found >= max(threshold, 1e-9)) if found.dtype.kind == "f" else (found > 0, found)
        if not 0 <= values.min() <= values.max() <= 1:
            raise EvaluationError(f"Probabilities from 0 to 1 were expected in scan {scan + 1}.")
        name, lesion, size, centre, _ = _parts(truth, by_label[0], truth)
        _, finding, sizes, _, scores = _parts(mask, by_label[1], values)
        shared = np.zeros((len(sizes) + 1, len(size) + 1), int)
        np.add.at(shared, (finding[finding > 0], lesion[finding > 0]), 1)
        shared = shared[1:, 1:]
        hit = (shared > 0) & (shared >= iou * (sizes[:, None] + size - shared))
        diameter = (6 / np.pi * size * np.prod(mm)) ** (1 / 3)
        best = np.where(hit, scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
        facts = zip(name.tolist(), diameter.tolist(), map(tuple, centre.tolist()), best.tolist(), strict=True)
        lesions += [Lesion(who, scan, *row) for row in facts]
        alarms.append(scores[~hit.any(axis=1)])
    return Detection(tuple(lesions), tuple(pair[0] for pair in pairs), tuple(alarms), iou)


def _found(lesions: Sequence[Lesion], threshold: float) -> Interval:
    return estimate([x.score >= threshold for x in lesions], patient=[x.patient for x in lesions])


def _parts(mask: np.ndarray, by_label: bool, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Names of the parts, their image (1, 2, ... in order of the names), sizes, central voxels, highest values."""
    from scipy.ndimage import label

    labels = mask.clip(0) if by_label else label(mask > 0, np.ones((3,) * mask.ndim))[0]
    at = np.nonzero(labels)
    names, part, size = np.unique(labels[at], return_inverse=True, return_counts=True)
    image, highest = np.zeros(mask.shape, np.int32), np.zeros(len(names))
    image[at] = part + 1
    np.maximum.at(highest, part, values[at])
    centre = np.stack([np.bincount(part, axis, len(names)) / size for axis in at], axis=-1)
    return names, image, size, centre.round().astype(int), highest
