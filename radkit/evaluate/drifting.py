"""Whether what comes in today is still what the model was judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import false_discovery_control, ks_2samp

from ..errors import EvaluationError
from .tables import Table, Tabled

MOST = 1000  # rows of each side that MMD looks at: it compares all with all


class Feature(NamedTuple):
    """One feature: PSI, the distance of Kolmogorov and Smirnov, and its p, corrected for the number of features."""

    name: str
    psi: float
    ks: float
    p: float

    @property
    def verdict(self) -> str:
        """Whether there is drift (by p), and how much (by PSI)."""
        size = "little" if self.psi < 0.1 else "some" if self.psi <= 0.25 else "much"
        return f"{size} drift" if self.p < 0.05 else "none seen"


@dataclass(frozen=True, repr=False)
class Drift(Tabled):
    """The ``features`` one by one, and all at once: ``mmd`` and its ``mmd_p``, by permutation."""

    features: tuple[Feature, ...]
    mmd: float
    mmd_p: float
    counts: tuple[int, int]
    claim = "robustness"

    @property
    def table(self) -> Table:
        """One row a feature; the conventions below."""
        rows = [(f.name, f.psi, f.ks, f"{f.p:.2g}", f.verdict) for f in self.features]
        seen = "together they have drifted" if self.mmd_p < 0.05 else "no drift of all together is seen"
        notes = [
            f"All features at once: MMD² {self.mmd:.3f}, p = {self.mmd_p:.2g}: {seen}.",
            "p says whether there is drift, PSI how much: under 0.1 little, over 0.25 much, which is mere convention.",
        ]
        title = f"Drift: {self.counts[0]} cases then, {self.counts[1]} now"
        return Table(title, ("feature", "PSI", "KS", "p", "verdict"), rows, notes)


def drift(reference: Any, current: Any, *, seed: int = 0) -> Drift:
    """Compare features (brightness, age, a network's own) of the cases then and now.

    Parameters
    ----------
    reference, current : array of shape (cases, features), or dicts of one sequence a feature
        At least ten cases each. One case a patient, or p promises too much.

    Raises
    ------
    EvaluationError
        If the features differ, values are missing, or cases are too few.

    Notes
    -----
    PSI: bins at the deciles of the reference, half a case added to each. p: of Kolmogorov and Smirnov's test, corrected
    after Benjamini and Hochberg. MMD: unbiased, a Gaussian kernel as wide as the median distance, features scaled by
    the reference, 500 permutations (Gretton, JMLR 2012;13:723); MONAI's MMDMetric has a linear kernel, which sees the
    means alone, and wants equally many cases.
    """
    names: list[str] = []
    if isinstance(reference, Mapping) and isinstance(current, Mapping):
        if set(reference) != set(current):
            raise EvaluationError(f"Both need the same features; {sorted(reference)} and {sorted(current)} came.")
        names = list(reference)
        reference, current = (np.column_stack([side[name] for name in names]) for side in (reference, current))
    x, y = (side[:, None] if side.ndim == 1 else side for side in map(np.asarray, (reference, current)))
    if x.ndim != 2 or x.shape[1:] != y.shape[1:] or not x.shape[1] or min(len(x), len(y)) < 10:
        raise EvaluationError(
            f"(cases, features) with the same features and at least 10 cases are needed; {x.shape} and {y.shape} came."
        )
    names = names or [f"feature {i}" for i in range(1, x.shape[1] + 1)]
    if any(side.dtype.kind not in "biuf" or not np.isfinite(side).all() for side in (x, y)):
        raise EvaluationError("Features are finite numbers; words, nan or infinity came. Count missing ones apart.")
    tests = [ks_2samp(a, b) for a, b in zip(x.T, y.T, strict=True)]
    psi = [stability(a, b) for a, b in zip(x.T, y.T, strict=True)]
    p = false_discovery_control([test.pvalue for test in tests]).tolist()
    features = map(Feature, names, psi, [float(test.statistic) for test in tests], p)
    return Drift(tuple(features), *discrepancy(x.astype(float), y.astype(float), seed), (len(x), len(y)))


def stability(reference: np.ndarray, current: np.ndarray) -> float:
    """PSI of one feature."""
    cuts = np.unique(np.quantile(reference, np.linspace(0.1, 0.9, 9)))
    counts = [np.bincount(np.searchsorted(cuts, side), minlength=len(cuts) + 1) + 0.5 for side in (reference, current)]
    p, q = (count / count.sum() for count in counts)
    return float(((q - p) * np.log(q / p)).sum())


def discrepancy(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float]:
    """MMD² and its p of 500 permutations."""
    rng, scale = np.random.default_rng(seed), np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1)
    x, y = (rng.permutation(side)[:MOST] / scale for side in (x, y))
    both, m, n = np.concatenate([x, y]), len(x), len(y)
    square = pdist(both, "sqeuclidean")
    kernel = squareform(np.exp(-square / (np.median(square) or 1)))  # 0 for a case with itself
    first = np.arange(m + n)[:, None] < m
    sides = np.concatenate([first, rng.permuted(np.repeat(first, 500, axis=1), axis=0)], axis=1).astype(float)
    product = kernel @ sides
    xx, xy = (sides * product).sum(axis=0), ((1 - sides) * product).sum(axis=0)
    mmd = xx / (m * (m - 1)) + (kernel.sum() - xx - 2 * xy) / (n * (n - 1)) - 2 * xy / (m * n)
    return float(mmd[0]), float((mmd >= mmd[0] - 1e-12).sum() / len(mmd))
