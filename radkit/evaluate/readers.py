"""Two readers, or a reader and a model: how far apart are their measurements, their words, their contours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import linregress, t

from ..errors import EvaluationError
from .figures import BLUE, GREY, RED, drawing
from .intervals import Interval, estimate
from .overlap import Segmentation, segmentation
from .tables import Table, Tabled

KINDS = ("measurements", "categories", "grades", "masks")


def agreement(
    a: Any, b: Any, *, names: tuple[str, str] = ("reader 1", "reader 2"), kind: str | None = None
) -> Measurements | Categories | Segmentation:
    """Compare what two readers said of the same cases, one case a patient.

    Parameters
    ----------
    a, b : sequences of numbers, of words, or masks (arrays or Volumes, one or a sequence)
        In the same order.
    kind : {"measurements", "categories", "grades", "masks"}, optional
        Guessed where it is None: words and bool are categories, numbers are measurements, arrays of two or more axes
        are masks. Grades are numbers on a scale (BI-RADS): two grades apart weighs four times one grade apart.

    Raises
    ------
    EvaluationError
        If the lengths differ, something is missing, or there are fewer than three measurements.
    """
    if kind == "masks" or (kind is None and any(map(_drawn, (a, b)))):
        return segmentation(a, b)
    first, second = np.asarray(a), np.asarray(b)
    if kind is None:
        kind = "measurements" if {first.dtype.kind, second.dtype.kind} <= set("iuf") else "categories"
    if kind not in KINDS:
        raise EvaluationError(f"kind is one of {', '.join(KINDS)}, and {kind!r} came.")
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise EvaluationError(f"One value of each reader a case is needed; {first.shape} and {second.shape} came.")
    missing = sum(sum(x is None or x != x for x in array.tolist()) for array in (first, second))
    if missing:
        raise EvaluationError(f"{missing} values are missing. Leave those cases out for both readers, and say so.")
    if kind == "categories":
        labels, codes = np.unique(np.concatenate([first, second]).astype(str), return_inverse=True)
        return categorise(codes[: len(first)], codes[len(first) :], labels, names, False)
    if not {first.dtype.kind, second.dtype.kind} <= set("iufb") or not np.isfinite([first, second]).all():
        raise EvaluationError(
            f"{kind} are finite numbers; {first.dtype} and {second.dtype} came. Or kind='categories'."
        )
    first, second = first.astype(float), second.astype(float)
    if kind == "grades":
        return categorise(first, second, np.unique([first, second]), names, True)
    return measure(first, second, names)


@dataclass(frozen=True, repr=False)
class Measurements(Tabled):
    """Bland and Altman (Lancet 1986;i:307): differences, first reader minus second, and where 95 % of them lie.

    ``bias`` and the limits ``low`` and ``high`` (bias ± 1.96 standard deviations) with 95 % intervals by Student's t,
    those of the limits approximate (Stat Methods Med Res 1999;8:135), for differences that are about normal.
    ``icc``: ICC(2,1), absolute agreement of single readings (Shrout and Fleiss, Psychol Bull 1979;86:420).
    ``repeatability``: two readings of a case differ by less in 95 of 100, bias and all.
    ``slope``, ``slope_p``: how the difference grows with the size, and whether chance would give that.
    """

    names: tuple[str, str]
    mean: np.ndarray
    difference: np.ndarray
    bias: Interval
    low: Interval
    high: Interval
    icc: Interval
    repeatability: float
    slope: float
    slope_p: float

    @property
    def table(self) -> Table:
        """All of them, and in words whether the differences grow with the size."""
        rows = [("bias", self.bias), ("lower limit of agreement", self.low), ("upper limit of agreement", self.high)]
        rows += [("ICC(2,1)", self.icc), ("repeatability coefficient", self.repeatability)]  # type: ignore[list-item]
        grows = f"difference against size: slope {self.slope:.2f}, p = {self.slope_p:.2g}."
        notes = [f"It depends on the size ({grows}): think in percent." * (self.slope_p < 0.05) or grows.capitalize()]
        if np.unique([self.mean, self.difference]).size < 12 and (self.difference % 1 == 0).all():
            notes.append("If these are grades on a scale and no measurements: kind='grades'.")
        return Table(f"{self.names[0]} minus {self.names[1]}, {len(self.mean)} cases", ("", "value"), rows, notes)

    def plot(self) -> Any:
        """Draw the differences against the means, with bias and limits named at the right."""
        span = f"95 % of the differences from {self.low.value:.3g} to {self.high.value:.3g}"
        title = f"{self.names[0]} minus {self.names[1]}: {span}"
        with drawing(title, size=(12, 6.5)) as (figure, axes):
            axes.plot(self.mean, self.difference, "o", color=BLUE, alpha=0.8)
            axes.axhline(0, color=GREY, linestyle=":", linewidth=2)
            for one, colour, style in ((self.bias, BLUE, "-"), (self.low, RED, "--"), (self.high, RED, "--")):
                axes.axhline(one.value, color=colour, linestyle=style)
                axes.axhspan(one.low, one.high, color=colour, alpha=0.12, linewidth=0)
                name = "bias" if one is self.bias else "limit"
                axes.annotate(
                    f"{name} {one.value:.3g}", (1.01, one.value), xycoords=("axes fraction", "data"), color=colour,
                    va="center", weight="bold",
                )  # fmt: skip
            axes.set(xlabel="mean of the two readings", ylabel="difference")
        return figure


def measure(a: np.ndarray, b: np.ndarray, names: tuple[str, str]) -> Measurements:
    """Return the `Measurements` of two readers."""
    n, difference = len(a), a - b
    if n < 3:
        raise EvaluationError(f"Limits of agreement need at least 3 cases, better 50, and {n} came.")
    bias, sd, wide = float(difference.mean()), float(difference.std(ddof=1)), float(t.ppf(0.975, n - 1))
    edges = [(bias, 1 / n), *((bias + z * sd, 1 / n + z**2 / (2 * (n - 1))) for z in (-1.96, 1.96))]
    centre, low, high = (Interval(x, x - wide * sd * v**0.5, x + wide * sd * v**0.5, n) for x, v in edges)
    mean = (a + b) / 2
    slope, p = (float(x) for x in linregress(mean, difference)[0:4:3]) if np.ptp(mean) and sd else (0.0, 1.0)
    repeatability = 1.96 * float(np.sqrt((difference**2).mean()))
    return Measurements(names, mean, difference, centre, low, high, estimate((a, b), icc), repeatability, slope, p)


def icc(*readers: np.ndarray) -> float:
    """ICC(2,1) from the mean squares of cases, readers and the rest."""
    x = np.stack(readers, axis=1)
    (n, k), centred = x.shape, x - x.mean()
    cases, reader = centred.mean(axis=1), centred.mean(axis=0)
    rest = ((centred - cases[:, None] - reader) ** 2).sum() / ((n - 1) * (k - 1))
    between, bias = k * (cases**2).sum() / (n - 1), n * (reader**2).sum() / (k - 1)
    whole = between + (k - 1) * rest + k * (bias - rest) / n
    return float((between - rest) / whole) if whole else np.nan


@dataclass(frozen=True, repr=False)
class Categories(Tabled):
    """How often two readers agree (``agreed``), and how much beyond chance: ``kappa`` (Cohen 1960; weighted 1968).

    ``counts``: one row a label of the first reader, one column a label of the second. Kappa falls where one label is
    rare, however well they agree: look at both.
    """

    names: tuple[str, str]
    labels: tuple[str, ...]
    counts: np.ndarray
    agreed: Interval
    kappa: Interval
    weighted: bool

    @property
    def table(self) -> Table:
        """The counts; below them both figures."""
        rows = [(label, *map(int, row)) for label, row in zip(self.labels, self.counts, strict=True)]
        weights = " (quadratic weights)" * self.weighted
        notes = [f"They agree in {self.agreed}.", f"Kappa{weights} {self.kappa}; 0 is chance, 1 is perfect."]
        return Table(f"{self.names[0]} (rows) and {self.names[1]} (columns)", ("", *self.labels), rows, notes)


def categorise(a: np.ndarray, b: np.ndarray, labels: np.ndarray, names: tuple[str, str], weighted: bool) -> Categories:
    """Return the `Categories` of two readers: codes into ``labels``, or where ``weighted`` the grades themselves."""

    def kappa(a: np.ndarray, b: np.ndarray) -> float:
        if weighted:  # the mean squared distance of pairs, against that of any reading with any other
            found, chance = ((a - b) ** 2).mean(), a.var() + b.var() + (a.mean() - b.mean()) ** 2
        else:
            share = [np.bincount(x, minlength=len(labels)) / len(x) for x in (a, b)]
            found, chance = (a != b).mean(), 1 - share[0] @ share[1]
        return float(1 - found / chance) if chance > 1e-12 else np.nan

    codes = [np.searchsorted(labels, x) if weighted else x for x in (a, b)]
    counts = np.zeros((len(labels),) * 2, int)
    np.add.at(counts, tuple(codes), 1)
    words = tuple(f"{x:g}" if weighted else str(x) for x in labels)
    return Categories(names, words, counts, estimate((a == b) * 1.0), estimate((a, b), kappa), weighted)


def _drawn(x: Any) -> bool:
    """Whether this is a mask or masks."""
    return hasattr(x, "array") or np.ndim(x) > 1 or (np.ndim(x) == 1 and len(x) > 0 and hasattr(x[0], "array"))
