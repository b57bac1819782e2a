"""Two readers, or a reader and a model: how far apart are their measurements, their words, their contours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import linregress, t

from ..errors import EvaluationError
from .figures import BLUE, GREY, RED, drawing
from .intervals import Interval, aligned, estimate
from .overlap import Segmentation, segmentation
from .tables import Table, Tabled


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
    first, second = aligned(a, b)
    numbers = {first.dtype.kind, second.dtype.kind} <= set("iuf")
    kind = kind or ("measurements" if numbers else "categories")
    if kind not in ("measurements", "categories", "grades"):
        raise EvaluationError(f"kind is one of measurements, categories, grades and masks, and {kind!r} came.")
    if first.ndim != 1 or not len(first):
        raise EvaluationError(f"One value of each reader a case is needed; {first.shape} came.")
    if kind != "categories" and not (numbers and np.isfinite([first, second]).all()):
        raise EvaluationError(
            f"{kind} are finite numbers; {first.dtype} and {second.dtype} came. Or kind='categories'."
        )
    return measure(first, second, names) if kind == "measurements" else categorise(first, second, names, kind)


@dataclass(frozen=True, repr=False)
class Measurements(Tabled):
    """Bland and Altman (Lancet 1986;i:307): differences, first reader minus second, and where 95 % of them lie.

    ``bias`` and the limits ``low`` and ``high`` (bias ± 1.96 standard deviations) with 95 % intervals by Student's t,
    those of the limits approximate (Stat Methods Med Res 1999;8:135), for differences that are about normal.
    ``icc``: ICC(2,1), absolute agreement of single readings (Shrout and Fleiss, Psychol Bull 1979;86:420).
    ``slope_p``: whether the difference grows with the size, or chance would give that.
    """

    names: tuple[str, str]
    mean: np.ndarray
    difference: np.ndarray
    bias: Interval
    low: Interval
    high: Interval
    icc: Interval
    slope_p: float
    claim = "agreement"

    @property
    def table(self) -> Table:
        """All of them, and in words whether the differences grow with the size."""
        rows = [("bias", self.bias), ("lower limit of agreement", self.low), ("upper limit of agreement", self.high)]
        grows = (
            "depends on the size: think in percent" if self.slope_p < 0.05 else "does not visibly grow with the size"
        )
        notes = [f"The difference {grows} (slope: p = {self.slope_p:.2g})."]
        title = f"{self.names[0]} minus {self.names[1]}, {len(self.mean)} cases"
        return Table(title, ("", "value"), [*rows, ("ICC(2,1)", self.icc)], notes)

    def plot(self) -> Any:
        """Draw the differences against the means, with bias and limits named at the right."""
        span = f"95 % of the differences from {self.low.value:.3g} to {self.high.value:.3g}"
        title = f"{self.names[0]} minus {self.names[1]}: {span}"
        with drawing(title, size=(12, 6.5)) as (figure, axes):
            axes.plot(self.mean, self.difference, "o", color=BLUE, alpha=0.8)
            axes.axhline(0, color=GREY, linestyle=":", linewidth=2)
            look = {"xycoords": ("axes fraction", "data"), "va": "center", "weight": "bold"}
            for name, one, colour in (("bias", self.bias, BLUE), ("limit", self.low, RED), ("limit", self.high, RED)):
                axes.axhline(one.value, color=colour, linestyle="-" if name == "bias" else "--")
                axes.axhspan(one.low, one.high, color=colour, alpha=0.12, linewidth=0)
                axes.annotate(f"{name} {one.value:.3g}", (1.01, one.value), color=colour, **look)
            axes.set(xlabel="mean of the two readings", ylabel="difference")
        return figure


def measure(a: np.ndarray, b: np.ndarray, names: tuple[str, str]) -> Measurements:
    """Return the `Measurements` of two readers."""
    if len(a) < 3:
        raise EvaluationError(f"Limits of agreement need at least 3 cases, better 50, and {len(a)} came.")
    n, mean, difference = len(a), (a + b) / 2, a - b.astype(float)
    bias, sd, wide = float(difference.mean()), float(difference.std(ddof=1)), float(t.ppf(0.975, n - 1))
    edges = [(bias, 1 / n), *((bias + z * sd, 1 / n + z**2 / (2 * (n - 1))) for z in (-1.96, 1.96))]
    centre, low, high = (Interval(x, x - wide * sd * v**0.5, x + wide * sd * v**0.5, n) for x, v in edges)
    slope_p = float(linregress(mean, difference).pvalue) if np.ptp(mean) and sd else 1.0
    return Measurements(names, mean, difference, centre, low, high, estimate((a, b), icc), slope_p)


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
    kind: str
    claim = "agreement"

    @property
    def table(self) -> Table:
        """The counts; below them both figures."""
        rows = [(label, *map(int, row)) for label, row in zip(self.labels, self.counts, strict=True)]
        weights = " (quadratic weights)" * (self.kind == "grades")
        notes = [f"They agree in {self.agreed}.", f"Kappa{weights} {self.kappa}; 0 is chance, 1 is perfect."]
        return Table(f"{self.names[0]} (rows) and {self.names[1]} (columns)", ("", *self.labels), rows, notes)


def categorise(a: np.ndarray, b: np.ndarray, names: tuple[str, str], kind: str) -> Categories:
    """Return the `Categories` of two readers; two grades apart weighs four times one."""
    both = np.concatenate([a, b])
    labels, codes = np.unique(both.astype(str) if kind == "categories" else both, return_inverse=True)
    one, other, k = codes[: len(a)], codes[len(a) :], len(labels)
    weights = (labels[:, None] - labels) ** 2.0 if kind == "grades" else 1 - np.eye(k)

    def count(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.bincount(one * k + other, minlength=k * k).reshape(k, k)

    def kappa(one: np.ndarray, other: np.ndarray) -> float:
        seen = count(one, other)
        chance = (weights * np.outer(seen.sum(axis=1), seen.sum(axis=0))).sum() / len(one)
        return 1 - (weights * seen).sum() / chance if chance else np.nan

    agreed, beyond = estimate(a == b), estimate((one, other), kappa)
    return Categories(names, tuple(map(str, labels)), count(one, other), agreed, beyond, kind)


def _drawn(x: Any) -> bool:
    """Whether this is a mask or masks."""
    return hasattr(x, "array") or np.ndim(x) > 1 or (np.ndim(x) == 1 and len(x) > 0 and hasattr(x[0], "array"))
