"""A score against a yes or no: ROC and PR, the threshold that a clinic can afford, the figures of each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .._optional import optional
from ..errors import EvaluationError
from .calibration import Abstention, Calibration, abstain, calibrate
from .figures import BLUE, GREY, drawing
from .intervals import Interval, estimate
from .operating import OperatingPoint, share
from .paired import auc
from .tables import Table, Tabled

FEW = 10  # with fewer cases with or without disease, a group is marked


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
    people = np.arange(np.size(truth)) if patient is None else np.asarray(patient)
    ill, scores = np.asarray(truth), np.asarray(score)
    if not ill.shape == scores.shape == people.shape == (ill.size,) or not ill.size:
        shapes = f"{ill.shape}, {scores.shape} and {people.shape}"
        raise EvaluationError(f"One truth, one score and one patient a case are needed; shapes {shapes} came.")
    if {ill.dtype.kind, scores.dtype.kind} - set("biuf"):
        raise EvaluationError(
            f"Truth and score are numbers, and {ill.dtype} and {scores.dtype} came. "
            "Of words make numbers: truth = [word == 'malignant' for word in words]."
        )
    if missing := int((~np.isfinite(ill)).sum() + (~np.isfinite(scores)).sum()):
        raise EvaluationError(
            f"{missing} values are missing (nan) or infinite. A case without a score is one that the model did not "
            "read: count those apart and say so, then give the rest."
        )
    if not np.isin(ill, (0, 1)).all():
        raise EvaluationError(f"Truth is 0 or 1, and {ill.max():g} came. Say where disease begins: truth >= 3, say.")
    return Classification(ill.astype(bool), scores.astype(float), people)


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
        return self._estimate(self._both_classes().score, statistic=auc)

    @cached_property
    def average_precision(self) -> Interval:
        """Area under the precision-recall curve; guessing reaches the share of cases with disease."""
        return self._estimate(self._both_classes().score, statistic=_average_precision)

    @property
    def table(self) -> Table:  # type: ignore[override]
        """AUC and average precision."""
        ill, cases = int(self.truth.sum()), len(self.truth)
        title = f"Scores of {cases} cases of {len(set(self.patient.tolist()))} patients, {ill} with disease"
        if ill in (0, cases):
            return Table(title, (), (), ["One class only: neither AUC nor PR; .at(threshold) gives what there is."])
        rows = [("AUC (ROC)", self.auc, "0.50"), ("average precision", self.average_precision, f"{ill / cases:.2f}")]
        return Table(title, ("", "value", "by guessing"), rows)

    def at(self, threshold: float, *, chosen: str = "") -> OperatingPoint:
        """Return sensitivity, specificity, PPV, NPV, F1 and the counts at this threshold, which is 0.5 for no reason.

        PPV and NPV hold at the prevalence of these cases; for another one ask for its ``predictive_values``.
        """
        if np.isnan(threshold):
            raise EvaluationError("A threshold is a number on the scale of the scores, and nan came; give a number.")
        called, ill = self.score >= threshold, self.truth
        found, cleared, ppv, npv = (
            estimate((called == ill)[of] * 1.0, patient=self.patient[of]) for of in (ill, ~ill, called, ~called)
        )
        f1 = self._estimate(called, statistic=_f1)
        tp, fp, fn, tn = (int(np.sum(of)) for of in (called & ill, called & ~ill, ~called & ill, ~called & ~ill))
        return OperatingPoint(float(threshold), found, cleared, ppv, npv, f1, tp, fp, fn, tn, chosen)

    def operating_point(
        self,
        *,
        cost_of_miss: float | None = None,
        cost_of_false_alarm: float | None = None,
        prevalence: float | None = None,
        sensitivity_at_least: float | None = None,
        specificity_at_least: float | None = None,
    ) -> OperatingPoint:
        """Choose the threshold by what the clinic can afford, by one of three rules.

        ``cost_of_miss`` and ``cost_of_false_alarm`` (any unit, their ratio counts): the least expected cost, where a
        share ``prevalence`` has the disease (without it: that of these cases; Metz, Semin Nucl Med 1978;8:283).
        ``sensitivity_at_least``: the highest threshold that finds this share. ``specificity_at_least``: the lowest that
        clears this share. Of equally good thresholds the lowest, which misses least.
        """
        costs = cost_of_miss, cost_of_false_alarm
        if [None in costs, sensitivity_at_least is None, specificity_at_least is None].count(False) != 1:
            raise EvaluationError(
                "A threshold is chosen by one rule, and none or several came. Give cost_of_miss with "
                "cost_of_false_alarm, or sensitivity_at_least, or specificity_at_least."
            )
        self._both_classes()
        alarms, found, thresholds = optional("sklearn.metrics").roc_curve(
            self.truth, self.score, drop_intermediate=False
        )
        if sensitivity_at_least is not None:
            loss = np.where(found >= share(sensitivity_at_least, "sensitivity_at_least"), alarms, np.inf)
            why = f"the highest threshold that finds at least {sensitivity_at_least:.0%}"
        elif specificity_at_least is not None:
            loss = np.where(1 - alarms >= share(specificity_at_least, "specificity_at_least"), -found, np.inf)
            why = f"the lowest threshold that clears at least {specificity_at_least:.0%}"
        else:
            miss, alarm = (float(cost) for cost in costs if cost is not None)
            if not (miss > 0 and alarm > 0 and np.isfinite(miss / alarm)):
                raise EvaluationError(f"Costs are above 0, and {miss:g} and {alarm:g} came; only their ratio counts.")
            ill = share(self.truth.mean() if prevalence is None else prevalence, "prevalence")
            loss = ill * (1 - found) * miss + (1 - ill) * alarms * alarm
            why = f"a miss costs as much as {miss / alarm:g} false alarms, and {100 * ill:.3g} % have the disease"
        best = np.flatnonzero(loss <= loss.min() + 1e-12 * abs(loss.min()))
        return self.at(thresholds[best[0 if sensitivity_at_least is not None else -1]], chosen=why)

    def calibration(self, bins: int = 10, *, adaptive: bool = False) -> Calibration:
        """Return whether 0.8 means 80 %: the reliability curve, ECE and the Brier score; see `Calibration`."""
        return calibrate(self.truth, self.score, self.patient, bins, adaptive)

    def abstention(self, threshold: float, *, uncertainty: Any = None) -> Abstention:
        """Return sensitivity and specificity among the cases kept when the least certain go to a human.

        ``uncertainty``: one number a case; without it the cases next to the threshold go first, equally large shares
        of those called and of those not called.
        """
        return abstain(self, threshold, uncertainty)

    def by(self, groups: Any, *, threshold: float | None = None) -> Subgroups:
        """Return AUC, and sensitivity and specificity at ``threshold``, of each group.

        ``groups`` names the group of each case, or is a dict of such sequences: ``{"sex": [...], "scanner": [...]}``.
        """
        several = groups if isinstance(groups, Mapping) else {"": groups}
        rows = []
        for name, labels in several.items():
            if len(labels) != len(self.truth):
                raise EvaluationError(f"One group a case is needed; {len(labels)} came for {len(self.truth)} cases.")
            words = np.array([f"{name} {label}".strip() for label in labels], object)
            rows += [self._group(word, words == word, threshold) for word in sorted(set(words))]
        return Subgroups(tuple(rows), threshold)

    def _group(self, name: str, of: np.ndarray, threshold: float | None) -> Subgroup:
        part = Classification(self.truth[of], self.score[of], self.patient[of])
        none, ill = Interval(np.nan, np.nan, np.nan, len(set(part.patient.tolist()))), int(part.truth.sum())
        point, both = None if threshold is None else part.at(threshold), 0 < ill < of.sum()
        pair = (point.sensitivity, point.specificity) if point else (none, none)
        return Subgroup(name, none.n, ill, int(of.sum()) - ill, part.auc if both else none, *pair)

    def plot(self) -> Any:
        """Draw the ROC and the precision-recall curve."""
        metrics = optional("sklearn.metrics")
        self._both_classes()
        title = f"A case with disease has the higher score in {self.auc.value:.0%} of pairs"
        with drawing(title, size=(13, 6.5), ncols=2) as (figure, (roc, pr)):
            alarms, found, _ = metrics.roc_curve(self.truth, self.score)
            precision, recall, _ = metrics.precision_recall_curve(self.truth, self.score)
            roc.plot([0, 1], [0, 1], ":", color=GREY, linewidth=2)
            roc.plot(alarms, found, "-", color=BLUE)
            pr.plot([0, 1], [self.truth.mean()] * 2, ":", color=GREY, linewidth=2)
            pr.step(recall, precision, "-", color=BLUE, where="post")
            roc.set(
                xlabel="called among those without\n(1 − specificity)", ylabel="found among those with (sensitivity)"
            )
            pr.set(xlabel="found among those with\n(recall, sensitivity)", ylabel="right among those called (PPV)")
            for axes, name, area in ((roc, "AUC", self.auc), (pr, "Average precision", self.average_precision)):
                axes.set_title(f"{name} {area.value:.2f} ({area.low:.2f} to {area.high:.2f})")
                axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            roc.text(0.55, 0.45, "guessing", color=GREY)
            pr.text(0.02, self.truth.mean() + 0.02, "guessing", color=GREY)
        return figure

    def _estimate(self, score: np.ndarray, *, statistic: Any) -> Interval:
        return estimate((self.truth, score), statistic, patient=self.patient)

    def _both_classes(self) -> Classification:
        if self.truth.all() or not self.truth.any():
            there, left = ("every", "sensitivity") if self.truth.all() else ("no", "specificity")
            raise EvaluationError(
                f"AUC, PR and the choice of a threshold need cases with and without the disease, and {there} case of "
                f"these {len(self.truth)} has it. What can be had is the {left}: .at(threshold).{left}."
            )
        return self


class Subgroup(NamedTuple):
    """The figures of one group; ``positives`` and ``negatives`` count rows, ``n`` patients."""

    name: str
    n: int
    positives: int
    negatives: int
    auc: Interval
    sensitivity: Interval
    specificity: Interval

    @property
    def small(self) -> bool:
        """Whether there are too few cases to tell."""
        return min(self.positives, self.negatives) < FEW


@dataclass(frozen=True, repr=False)
class Subgroups(Tabled):
    """The figures of each group; those too small to tell are marked."""

    rows: tuple[Subgroup, ...]
    threshold: float | None = None

    @property
    def table(self) -> Table:  # type: ignore[override]
        """One row a group."""
        columns = ["group", "patients", "with / without", "AUC"]
        columns += [] if self.threshold is None else ["sensitivity", "specificity"]
        rows = [
            (*(r.name, r.n, f"{r.positives} / {r.negatives}", r.auc, r.sensitivity, r.specificity)[: len(columns)],
             "too few to tell" * r.small) for r in self.rows
        ]  # fmt: skip
        note = "Groups are compared by the interval of their difference, not by whether two intervals overlap."
        return Table("Subgroups", (*columns, ""), rows, [f"Too few: under {FEW} with or without the disease.", note])

    def plot(self) -> Any:
        """Draw the AUC of each group with its interval; groups too small are grey and hollow."""
        rows = [r for r in self.rows if not np.isnan(r.auc.value)]
        with drawing("AUC by subgroup, 95 % interval", size=(11, 1.8 + 0.6 * len(rows))) as (figure, axes):
            for i, r in enumerate(rows):
                colour = GREY if r.small else BLUE
                axes.plot([r.auc.low, r.auc.high], [i, i], "-", color=colour)
                axes.plot(r.auc.value, i, "o", color=colour, mfc="white" if r.small else colour, markersize=13)
            names = [f"{r.name} ({r.positives} with, {r.negatives} without{', too few' * r.small})" for r in rows]
            axes.set_yticks(range(len(rows)), names)
            axes.axvline(0.5, color=GREY, linestyle=":", linewidth=2)
            axes.set(xlabel="AUC")
            axes.invert_yaxis()
        return figure


def _average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # equal scores are called together
    found = np.cumsum(truth[order])[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / found[-1]) if found[-1] else np.nan


def _f1(truth: np.ndarray, called: np.ndarray) -> float:
    either = truth.sum() + called.sum()
    return 2 * (truth & called).sum() / either if either else np.nan
