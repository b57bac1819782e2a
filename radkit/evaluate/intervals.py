"""A figure and how far it may be off: the bootstrap, which draws patients and not voxels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import EvaluationError

Statistic = Callable[..., Any]


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval, and the ``n`` patients that it rests on.

    ``low`` and ``high`` are nan where no interval can be had: one patient, or the same figure in every draw.
    ``draws`` holds the figure in each draw of the patients, nan where it was not defined.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95
    draws: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def __format__(self, spec: str) -> str:
        value, low, high = (format(x, spec or ".2f") for x in (self.value, self.low, self.high))
        if np.isnan(self.low):
            return f"– (n = {self.n})" if np.isnan(self.value) else f"{value} (no interval, n = {self.n})"
        return f"{value} ({100 * self.level:g} % CI {low} to {high}, n = {self.n})"

    def __str__(self) -> str:
        return format(self)


def interval(
    values: Any, statistic: Statistic = np.mean, *, patient: Sequence | None = None,
    level: float = 0.95, n: int = 2000, seed: int = 0,
) -> Interval:  # fmt: skip
    """How far a figure may be off, had other patients come: the bootstrap, all rows of a patient drawn together.

    Parameters
    ----------
    values : array-like, or a tuple of aligned arrays
        One row a case (an image, a lesion). A tuple goes whole to the statistic: ``((truth, score), roc_auc_score)``.
    statistic : callable
        ``statistic(*arrays)`` gives a number; nan where a draw does not have it (one class only).
    patient : sequence, optional
        To whom each row belongs. Without it each row is a patient of its own.
    level, n, seed : float, int, int
        0.95 for a 95 % interval; how often the patients are drawn; the same seed gives the same interval.

    Raises
    ------
    EvaluationError
        If there are fewer than two patients, values are missing (nan), or the arrays are not of one length.

    Notes
    -----
    BCa (Efron, J Am Stat Assoc 1987;82:171) by ``scipy.stats.bootstrap``; percentiles where BCa is not defined. Below
    some 20 patients both promise too much. A share of hits (the mean of values of 0 and 1) that has one row a patient,
    or is 0 or 1, gets Wilson's interval: of 20 hits in 20 the bootstrap would say "1.00 to 1.00".
    """
    found = estimate(values, statistic, patient=patient, level=level, n=n, seed=seed)
    if found.n < 2:
        raise EvaluationError(
            f"An interval says how a figure would differ with other patients: it needs at least 2, and {found.n} came. "
            f"Report the figure ({found.value:.2f}) with its n and without an interval, or bring more patients."
        )
    return found


def estimate(
    values: Any, statistic: Statistic = np.mean, *, patient: Any = None, level: float = 0.95, n: int = 2000,
    seed: int = 0, method: str = "BCa",
) -> Interval:  # fmt: skip
    """`interval` for a table: with fewer than two patients the bounds are nan, and nothing is raised."""
    from scipy.stats import binomtest, bootstrap

    several = isinstance(values, tuple) and len(values) and np.ndim(values[0])
    arrays = [np.asarray(array) for array in (values if several else (values,))]
    names = list(range(len(arrays[0])) if patient is None else patient)
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    people, owner = len(number), np.array([number[name] for name in names], int)
    aligned(*arrays, owner)
    value = float(statistic(*arrays)) if people else np.nan
    if people < 2 or np.isnan(value):
        return Interval(value, np.nan, np.nan, people, level)
    if statistic is np.mean and np.isin(arrays[0], (0, 1)).all() and (len(owner) == people or value in (0, 1)):
        low, high = binomtest(round(value * people), people).proportion_ci(level, method="wilson")
        return Interval(value, float(low), float(high), people, level)
    rng = np.random.default_rng(seed)
    options = {"n_resamples": n, "confidence_level": level, "random_state": rng, "method": method, "batch": 100}
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # of draws without the figure, which are looked at below
        warnings.simplefilter("ignore")
        result = bootstrap((np.arange(people),), _redrawn(statistic, arrays, owner), **options)
        (low, high), draws = result.confidence_interval, result.bootstrap_distribution
        if not np.isfinite([low, high]).all():
            low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
        if not np.nanmax(draws) > np.nanmin(draws):
            low = high = np.nan  # alike in every draw: the bootstrap cannot say how far it may be off
    return Interval(value, float(low), float(high), people, level, draws)


def _redrawn(statistic: Statistic, arrays: list[np.ndarray], owner: np.ndarray) -> Statistic:
    """The statistic as a function of the numbers of the patients drawn; of a mean, of many draws at once."""
    size = np.bincount(owner)
    if statistic is np.mean and arrays[0].ndim == 1:
        total = np.bincount(owner, arrays[0])
        return lambda chosen, axis: total[chosen].sum(axis) / size[chosen].sum(axis)
    rows = np.argsort(owner, kind="stable")
    start = np.cumsum(size) - size

    def figure(chosen: np.ndarray) -> float:
        sizes = size[chosen]
        of = rows[np.repeat(start[chosen] + sizes - np.cumsum(sizes), sizes) + np.arange(sizes.sum())]
        return float(statistic(*(array[of] for array in arrays)))

    return figure


def aligned(*rows: Any) -> list[np.ndarray]:
    """Arrays of what came, refused unless of one length and without nan."""
    arrays = [np.asarray(row) for row in rows]
    shapes = [array.shape for array in arrays]
    if len({shape[:1] for shape in shapes}) > 1 or () in shapes:
        raise EvaluationError(f"Arrays of one length are needed, one row a case; the shapes that came are {shapes}.")
    if missing := sum(
        x is None or x != x or x in (np.inf, -np.inf) for array in arrays for x in array.ravel().tolist()
    ):
        raise EvaluationError(
            f"{missing} of {len(arrays[0])} values are missing (nan) or no finite number. A case without a figure is "
            "often a missed one: count those apart and say so, then give the rest."
        )
    return arrays
