"""A score against a yes or no: ROC and PR, the threshold that a clinic can afford, the figures of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._optional import optional
from ..errors import EvaluationError
from .calibration import Abstention, Calibration, abstain, calibrate
from .figures import BLUE, GREY, drawing
from .intervals import Interval, aligned, estimate
from .operating import OperatingPoint, share
from .paired import auc
from .tables import Table, Tabled, subgroups

FEW = 10  # with fewer cases with or without disease, a group is marked


@dataclass(frozen=True, repr=False, eq=False)
class Classification(Tabled):
    """Scores against the truth, one row a case. A score of at least the threshold is called positive."""

    truth: np.ndarray
    score: np.ndarray
    patient: Any

    @cached_property
    def auc(self) -> Interval:
        """Area under the ROC curve: how often a case with disease has the higher score of two (Hanley & McNeil 1982).

        In numpy, as is the average precision: scikit-learn's own, equal, takes 15 times as long in 2,000 draws.
        """
        self._need_both()
        return estimate((self.truth, self.score), auc, patient=self.patient)

    @cached_property
    def average_precision(self) -> Interval:
        """Area under the precision-recall curve; guessing reaches the share of cases with disease."""
        self._need_both()
        return estimate((self.truth, self.score), _average_precision, patient=self.patient)

    @property
    def table(self) -> Table:
        """AUC and average precision."""
        ill, cases = int(self.truth.sum()), len(self.truth)
        title = f"Scores of {cases} cases of {len(set(self.patient.tolist()))} patients, {ill} with disease"
        if ill in (0, cases):
            return Table(title, (), (), ["One class only: neither AUC nor PR; .at(threshold) gives what there is."])
        rows = [("AUC (ROC)", self.auc, "0.50"), ("average precision", self.average_precision, f"{ill / cases:.2f}")]
        return Table(title, ("", "value", "by guessing"), rows)

    def at(self, threshold: float, *, chosen: str = "") -> OperatingPoint:
        """Return sensitivity, specificity, PPV, NPV and the counts at this threshold, which is 0.5 for no reason."""
        if np.isnan(threshold):
            raise EvaluationError("A threshold is a number on the scale of the scores, and nan came; give a number.")
        called, ill = self.score >= threshold, self.truth
        found, cleared, ppv, npv = (
            estimate((called == ill)[of], patient=self.patient[of]) for of in (ill, ~ill, called, ~called)
        )
        tp, fp, fn, tn = (int(np.sum(of)) for of in (called & ill, called & ~ill, ~called & ill, ~called & ~ill))
        patients = len(set(self.patient.tolist()))
        return OperatingPoint(float(threshold), found, cleared, ppv, npv, tp, fp, fn, tn, patients, chosen)

    def operating_point(
        self, *, cost_of_miss: float, cost_of_false_alarm: float, prevalence: float | None = None
    ) -> OperatingPoint:
        """Choose the threshold with the least expected cost (Metz, Semin Nucl Med 1978;8:283).

        The costs may be in any unit, their ratio counts. A share ``prevalence`` has the disease, without it that of
        these cases. Of equally good thresholds it is the lowest, which misses least.
        """
        miss, alarm = cost_of_miss, cost_of_false_alarm
        if not (miss > 0 and alarm > 0 and np.isfinite(miss / alarm)):
            raise EvaluationError(f"Costs are above 0, and {miss:g} and {alarm:g} came; only their ratio counts.")
        self._need_both()
        ill = share(self.truth.mean() if prevalence is None else prevalence, "prevalence")
        roc = optional("sklearn.metrics").roc_curve
        alarms, found, thresholds = roc(self.truth, self.score, drop_intermediate=False)
        loss = ill * (1 - found) * miss + (1 - ill) * alarms * alarm
        least = np.flatnonzero(loss <= loss.min() * (1 + 1e-12))[-1]
        why = f"a miss costs as much as {miss / alarm:g} false alarms, and {100 * ill:.3g} % have the disease"
        return self.at(thresholds[least], chosen=why)

    def calibration(self, bins: int = 10) -> Calibration:
        """Return whether 0.8 means 80 %: the reliability curve and the ECE."""
        return calibrate(self.truth, self.score, self.patient, bins)

    def abstention(self, threshold: float) -> Abstention:
        """Return what is right among the cases kept when those next to the threshold go to a human.

        They go in equal shares of those called and of those not called.
        """
        return abstain(self.truth, self.score, self.patient, threshold)

    def by(self, groups: Any, *, threshold: float | None = None) -> Table:
        """Return AUC, and sensitivity and specificity at ``threshold``, of each group.

        ``groups`` names the group of each case, or is a dict of such sequences: ``{"sex": [...], "scanner": [...]}``.
        """

        def figures(of: list[int]) -> list[object]:
            part = Classification(self.truth[of], self.score[of], self.patient[of])
            ill, n = int(part.truth.sum()), len(set(part.patient.tolist()))
            area = part.auc if 0 < ill < len(of) else Interval(np.nan, np.nan, np.nan, n)
            row = [n, f"{ill} / {len(of) - ill}", area]
            if threshold is not None:
                point = part.at(threshold)
                row += [point.sensitivity, point.specificity]
            return [*row, "too few to tell" * (min(ill, len(of) - ill) < FEW)]

        columns = ["patients", "with / without", "AUC", *(["sensitivity", "specificity"] * (threshold is not None)), ""]
        few = f"Too few: under {FEW} with or without the disease."
        return subgroups(groups, len(self.truth), columns, figures, few)

    def plot(self) -> Any:
        """Draw the ROC and the precision-recall curve."""
        metrics = optional("sklearn.metrics")
        title = f"A case with disease has the higher score in {self.auc.value:.0%} of pairs"
        with drawing(title, size=(13, 6.5), ncols=2) as (figure, (roc, pr)):
            alarms, found, _ = metrics.roc_curve(self.truth, self.score)
            precision, recall, _ = metrics.precision_recall_curve(self.truth, self.score)
            roc.plot([0, 1], [0, 1], ":", color=GREY, linewidth=2)
            roc.plot(alarms, found, "-", color=BLUE)
            roc.set(
                xlabel="called among those without\n(1 − specificity)", ylabel="found among those with\n(sensitivity)"
            )
            roc.text(0.55, 0.45, "guessing", color=GREY)
            pr.plot([0, 1], [self.truth.mean()] * 2, ":", color=GREY, linewidth=2)
            pr.step(recall, precision, "-", color=BLUE, where="post")
            pr.set(xlabel="found among those with\n(recall, sensitivity)", ylabel="right among those called (PPV)")
            pr.text(0.02, self.truth.mean() + 0.02, "guessing", color=GREY)
            for axes, name, area in ((roc, "AUC", self.auc), (pr, "Average precision", self.average_precision)):
                axes.set_title(f"{name} {area.value:.2f} ({area.low:.2f} to {area.high:.2f})")
                axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        return figure

    def _need_both(self) -> None:
        if self.truth.all() or not self.truth.any():
            there, left = ("every", "sensitivity") if self.truth.all() else ("no", "specificity")
            raise EvaluationError(
                f"AUC, PR and the choice of a threshold need cases with and without the disease, and {there} case of "
                f"these {len(self.truth)} has it. What can be had is the {left}: .at(threshold).{left}."
            )


def classification(truth: Any, score: Any, *, patient: Sequence | None = None) -> Classification:
    """Judge a score that tells cases with disease from those without.

    Parameters
    ----------
    truth : array-like of 0 and 1, or of bool
        One a case: 1 has the disease.
    score : array-like of numbers
        The higher, the more likely the disease; from 0 to 1 where it is a probability.
    patient : sequence, optional
        To whom each case belongs; without it each case is a patient of its own. Intervals draw patients.

    Raises
    ------
    EvaluationError
        If the lengths differ, something is missing or no number, or truth is not 0 and 1.
    """
    people = np.arange(np.size(truth)) if patient is None else patient
    ill, scores, people = aligned(truth, score, people)
    if ill.shape != (len(ill),) or not len(ill) or not np.isin(ill, (0, 1)).all():
        raise EvaluationError(
            f"Truth is one 0 or 1 a case, and {ill.dtype} of shape {ill.shape} came. Say where disease begins: "
            "truth = [grade >= 3 for grade in grades], or [word == 'malignant' for word in words]."
        )
    if scores.shape != ill.shape or scores.dtype.kind not in "biuf" or not np.isfinite(scores).all():
        raise EvaluationError(f"A score is one finite number a case; {scores.dtype} of shape {scores.shape} came.")
    return Classification(ill.astype(bool), scores.astype(float), people)


def _average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # equal scores are called together
    found = np.cumsum(truth[order])[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / found[-1]) if found[-1] else np.nan
