"""Is model B really better? Both read the same patients, so the difference is what is asked, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EvaluationError
from .figures import BLUE, GREY, RED, drawing, whisker
from .intervals import Interval, Statistic, aligned, estimate
from .tables import Table, Tabled


@dataclass(frozen=True, repr=False)
class Comparison(Tabled):
    """Two models on the same patients: each alone (``a``, ``b``), and ``gain``, by how much B is better than A.

    ``gains`` holds that of each patient; it is empty for a statistic that one patient alone does not have.
    """

    names: tuple[str, str]
    a: Interval
    b: Interval
    gain: Interval
    gains: np.ndarray
    p: float
    margin: float | None
    claim = "comparison"

    @property
    def verdict(self) -> str:
        """What the interval of the difference says, in words; with a margin also whether B is not worse than that."""
        (one, two), gain, way = self.names, self.gain, "better"
        if gain.value < 0:
            way, gain = "worse", Interval(-gain.value, -gain.high, -gain.low, gain.n, gain.level)
        said = f"{two} is {way} than {one} by {gain}"
        if np.isnan(gain.low):
            said = said if gain.value else f"{one} and {two} do the same (n = {gain.n})"
            said += ": nothing can be said of other patients"
        elif gain.low <= 0 <= gain.high:
            said = (
                f"{two} seems {way} than {one} by {gain}, but the data cannot tell them apart: neither better nor equal"
            )
        if self.margin is None:
            return said + "."
        shown = "is" if self.gain.low > -self.margin else "is not"
        return f"{said}. It {shown} shown that {two} is not worse by {self.margin:g} or more (non-inferiority)."

    @property
    def table(self) -> Table:
        """Each alone, the difference, the test, and the verdict."""
        (one, two), p = self.names, "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        rows: list[Any] = [(f"{one} alone", self.a), (f"{two} alone", self.b), (f"{two} better by", self.gain)]
        if len(self.gains):
            won, tied, lost = (int((np.sign(self.gains) == way).sum()) for way in (1, 0, -1))
            rows.append((f"{two} wins, ties, loses", f"{won}, {tied}, {lost} patients"))
        rows.append(("paired permutation test" if len(self.gains) else "bootstrap test", p))
        note = "Judge by the difference: the interval of each alone also holds what makes a patient hard for both."
        if self.a.low <= self.b.high and self.b.low <= self.a.high and (self.gain.low > 0 or self.gain.high < 0):
            note += " Here those overlap, and the difference is clear all the same."
        return Table("Is it really better?", ("", "found"), rows, [self.verdict, note])

    def plot(self) -> Any:
        """Left each model alone; right the difference in each patient, the worst first, and its mean with interval."""
        two, gains = self.names[1], np.sort(self.gains)
        looks = {"better": (1, "^", BLUE), "equal": (0, "o", GREY), "worse": (-1, "v", RED)}
        with drawing(self.verdict, size=(12, 6.5), ncols=2, width_ratios=(1, 2)) as (figure, (left, right)):
            whisker(left, 0, self.a, fmt="s", color=RED)
            whisker(left, 1, self.b, fmt="o", color=BLUE)
            left.set_xticks((0, 1), self.names)
            left.set(xlim=(-0.6, 1.6), title="each alone")
            for which, (way, marker, colour) in looks.items():
                at = np.flatnonzero(np.sign(gains) == way)
                if at.size:
                    right.plot(at + 1, gains[at], marker, color=colour, label=f"{two} {which}: {at.size}")
            whisker(right, 1.1 * len(gains) + 2, self.gain, fmt="D", color="black", label="difference, with interval")
            right.axhline(0, color=GREY, lw=2)
            if self.margin is not None:
                right.axhline(-self.margin, color=RED, lw=2, ls="--", label="margin")
            right.set(title=f"{two} better by", xlabel="patients, from loss to gain" if len(gains) else "", xticks=[])
            right.legend()
        return figure


def compare(
    a: Any, b: Any, *, patient: Sequence | None = None, truth: Any = None, statistic: Statistic | str = "mean",
    higher_is_better: bool = True, margin: float | None = None, names: tuple[str, str] = ("A", "B"),
) -> Comparison:  # fmt: skip
    """Compare two models on the same cases, by the paired difference.

    Parameters
    ----------
    a, b : array-like
        A figure of each case (Dice, say), aligned; or, with ``truth``, the score that each model gives it.
    patient : sequence, optional
        To whom each case belongs. Means are taken in each patient first, who then counts once.
    truth, statistic : array-like of 0 and 1; "mean", "auc" or callable
        ``statistic(truth, score)`` where there is a truth, else ``statistic(figures)``.
    higher_is_better : bool
        False for a distance or an error: then a decrease is a gain.
    margin : float, optional
        How much worse B may be and still do; settle it before you look.
    names : tuple of str
        What the two are called.

    Raises
    ------
    EvaluationError
        If the lengths differ, values are missing (nan), or the statistic is not defined (one class only).

    Notes
    -----
    The interval is the bootstrap's, of the difference. For means p is of the paired permutation test, which asks of the
    mean as the interval does, and not of ranks as Wilcoxon's; for another statistic it is the share of draws beyond 0,
    doubled. B is non-inferior where the lower end of the interval lies above -margin (CONSORT extension, Piaggio et
    al., JAMA 2012;308:2594).
    """
    from scipy.stats import permutation_test

    of: Any = {"mean": np.mean, "auc": auc}.get(statistic, statistic) if isinstance(statistic, str) else statistic
    sign, means = (1 if higher_is_better else -1), of is np.mean and truth is None
    a, b, people = aligned(np.asarray(a, float), np.asarray(b, float), range(len(a)) if patient is None else patient)
    if means:
        own = [people == who for who in dict.fromkeys(people.tolist())]
        a, b, people = *(np.array([x[rows].mean() for rows in own]) for x in (a, b)), np.arange(len(own))
    head = () if truth is None else (np.asarray(truth),)
    one, two = (estimate((*head, x), of, patient=people) for x in (a, b))

    def better(*rows: np.ndarray) -> float:
        return sign * (of(*rows[:-2], rows[-1]) - of(*rows[:-2], rows[-2])) + 0.0  # never -0.00

    gain = estimate((*head, a, b), better, patient=people)
    if np.isnan(gain.value):
        raise EvaluationError("The statistic is not defined for these cases; an AUC needs cases of both classes.")
    if means:
        gains = np.where(abs(b - a) < 1e-12, 0, sign * (b - a))
        how = {"permutation_type": "samples", "random_state": np.random.default_rng(0)}
        p = permutation_test((gains,), np.mean, **how).pvalue if gain.n > 1 else 1.0
    else:
        gains, known = np.zeros(0), gain.draws[np.isfinite(gain.draws)]
        p = min(1.0, 2 * (1 + min((known <= 0).sum(), (known >= 0).sum())) / (1 + len(known)))
    return Comparison(names, one, two, gain, gains, float(p), margin)


def auc(truth: Any, score: Any) -> float:
    """Area under the ROC curve by counting pairs (Mann-Whitney), ties as half; nan with one class only."""
    ill, score = np.asarray(truth) > 0, np.asarray(score)
    found, others = score[ill], np.sort(score[~ill])
    below = others.searchsorted(found, "left").sum() + others.searchsorted(found, "right").sum()
    return float(below / 2 / (found.size * others.size)) if found.size * others.size else np.nan
