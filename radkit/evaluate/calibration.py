"""Whether 0.8 means 80 %, and what is gained when the model may say that it does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from .._optional import optional
from ..errors import EvaluationError
from .figures import BLUE, GREEN, GREY, drawing
from .intervals import Interval, estimate
from .operating import band
from .tables import Table, Tabled

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of the cases that go to a human


@dataclass(frozen=True, repr=False)
class Calibration(Tabled):
    """The reliability curve: what was promised and what came true in each bin of equal width, with the cases in it.

    ``ece``: expected calibration error, the mean of the gaps weighted by cases (Guo, ICML 2017). A gap is never
    negative, so ECE is too high with few cases, and a plain bootstrap doubles that: the interval here is the basic one
    (mirrored at the value), and it begins at 0 where ``chance`` (95 of 100 perfectly calibrated models with these
    scores stay below it) is not exceeded.
    """

    promised: tuple[float, ...]
    observed: tuple[Interval, ...]
    cases: tuple[int, ...]
    ece: Interval
    chance: float

    @property
    def table(self) -> Table:
        """One row a bin that holds cases."""
        verdict = "more than chance gives" if self.ece.value > self.chance else "no more than chance can give"
        note = f"ECE {self.ece}: {verdict} (a perfect model: up to {self.chance:.2f})."
        rows = list(zip(self.promised, self.observed, self.cases, strict=True))
        return Table("Calibration", ("promised", "came true", "cases"), rows, [note])

    def plot(self) -> Any:
        """Draw what came true against what was promised; the dot grows with the cases in its bin."""
        word = (
            "What is promised is not what comes true" if self.ece.value > self.chance else "Promised is what comes true"
        )
        with drawing(f"{word}: ECE {self.ece.value:.2f}", size=(8.5, 8)) as (figure, axes):
            axes.plot([0, 1], [0, 1], ":", color=GREY, linewidth=2)
            axes.annotate("perfect", (1, 1), (0, 12), textcoords="offset points", color=GREY, ha="center")
            low, high = ([getattr(o, end) for o in self.observed] for end in ("low", "high"))
            axes.vlines(self.promised, low, high, color=BLUE, alpha=0.5, linewidth=3)
            size = 60 + 350 * np.sqrt(np.array(self.cases) / max(self.cases))
            axes.scatter(self.promised, [o.value for o in self.observed], s=size, color=BLUE, zorder=3)
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set(xlabel="promised: mean score in the bin", ylabel="came true: share with disease")
        return figure


def calibrate(truth: np.ndarray, score: np.ndarray, patient: Any, bins: int) -> Calibration:
    """Return the `Calibration` of scores from 0 to 1."""
    if score.min() < 0 or score.max() > 1:
        raise EvaluationError(
            f"Calibration asks whether a score of 0.8 means 80 %, so scores go from 0 to 1; these go from "
            f"{score.min():.3g} to {score.max():.3g}. Logits become probabilities by 1 / (1 + exp(-score))."
        )
    if bins < 1:
        raise EvaluationError(f"At least one bin is needed, 10 is usual, and {bins} came.")
    number = np.minimum((score * bins).astype(int), bins - 1)
    full = np.unique(number)

    def error(number: np.ndarray, truth: np.ndarray, score: np.ndarray) -> float:
        return float(np.abs(np.bincount(number, score - truth)).sum() / len(score))

    found = estimate((number, truth, score), error, patient=patient, method="basic")
    perfect = np.random.default_rng(0).random((1000, len(score))) < score
    chance = float(np.quantile([error(number, one, score) for one in perfect], 0.95))
    low = np.clip(found.low, 0, 1 if found.value > chance else 0)  # nan stays nan
    ece = Interval(found.value, float(low), float(np.clip(found.high, found.value, 1)), found.n)
    observed = tuple(estimate(truth[number == i], patient=patient[number == i]) for i in full)
    promised = tuple(float(score[number == i].mean()) for i in full)
    return Calibration(promised, observed, tuple(np.bincount(number)[full].tolist()), ece, chance)


@dataclass(frozen=True, repr=False)
class Abstention(Tabled):
    """What the model gets right among the cases it keeps, by the share that it refers to a human."""

    threshold: float
    referred: tuple[float, ...]
    sensitivity: tuple[Interval, ...]
    specificity: tuple[Interval, ...]
    missed: tuple[int, ...]

    @property
    def table(self) -> Table:
        """One row a share."""
        shares = [f"{share:.0%}" for share in self.referred]
        rows = list(zip(shares, self.sensitivity, self.specificity, self.missed, strict=True))
        columns = ("referred to a human", "sensitivity of the rest", "specificity of the rest", "missed in the rest")
        return Table(f"Abstention, positive from {self.threshold:.3g}", columns, rows)

    def plot(self) -> Any:
        """Draw both against the share that is referred."""
        with drawing("What the model gets right when it may pass the doubtful cases on") as (figure, axes):
            band(axes, self.referred, self.sensitivity, "sensitivity", BLUE, "-")
            band(axes, self.referred, self.specificity, "specificity", GREEN, "--")
            axes.set(ylim=(None, 1.02), xlabel="share of the cases that a human reads", ylabel="right among the rest")
            axes.xaxis.set_major_formatter(optional("matplotlib.ticker").PercentFormatter(1))
        return figure


def abstain(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, threshold: float) -> Abstention:
    """Return the `Abstention` of cases at a threshold, those next to it referred first."""
    called, sure = score >= threshold, np.zeros(len(score))
    for of in (called, ~called):
        sure[of] = rankdata(abs(score[of] - threshold)) / max(of.sum(), 1)
    order, found, cleared, missed = np.argsort(-sure, kind="stable"), [], [], []
    for share in SHARES:
        kept = order[: len(order) - round(share * len(order))]
        ill, well = kept[truth[kept]], kept[~truth[kept]]
        found.append(estimate(called[ill], patient=patient[ill]))
        cleared.append(estimate(~called[well], patient=patient[well]))
        missed.append(int((~called[ill]).sum()))
    return Abstention(threshold, SHARES, tuple(found), tuple(cleared), tuple(missed))
