"""Whether what comes in today is still what the model was judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2, false_discovery_control, ks_2samp

from ..errors import EvaluationError
from .figures import BLUE, GREY, RED, drawing
from .tables import Table, Tabled

MOST = 1000  # rows of each side that MMD looks at: it compares all with all


class Feature(NamedTuple):
    """One feature: its PSI and what chance gives (in 95 of 100), the distance of Kolmogorov and Smirnov, p, a verdict.

    ``p`` is corrected for the number of features (Benjamini and Hochberg).
    """

    name: str
    psi: float
    chance: float
    ks: float
    p: float
    verdict: str


class Drift(Tabled):
    """The ``features`` one by one, and all at once: ``mmd`` and its ``mmd_p``, by permutation."""

    def __init__(self, features: tuple[Feature, ...], mmd: float, mmd_p: float, counts: tuple[int, int]):
        self.features, self.mmd, self.mmd_p, self.counts = features, mmd, mmd_p, counts

    @property
    def table(self) -> Table:
        """One row a feature; the conventions below."""
        rows = [(f.name, f.psi, f.chance, f.ks, f"{f.p:.2g}", f.verdict) for f in self.features]
        seen = "together they have drifted" if self.mmd_p < 0.05 else "no drift of all together is seen"
        notes = [
            f"All features at once: MMD² {self.mmd:.3f}, p = {self.mmd_p:.2g}: {seen}.",
            "p says whether there is drift, PSI how much: under 0.1 little, over 0.25 much, which is mere convention.",
        ]
        title = f"Drift: {self.counts[0]} cases then, {self.counts[1]} now"
        return Table(title, ("feature", "PSI", "PSI by chance", "KS", "p", "verdict"), rows, notes)

    def plot(self) -> Any:
        """Draw the PSI of the features, the 15 largest, what has drifted in red with its verdict."""
        rows = sorted(self.features, key=lambda f: -f.psi)[:15]
        found = sum(f.p < 0.05 for f in self.features)
        title = f"{found} of {len(self.features)} features have drifted"
        with drawing(title, size=(12, 2.2 + 0.6 * len(rows))) as (figure, axes):
            colours = [RED if f.p < 0.05 else BLUE for f in rows]
            bars = axes.barh([f.name for f in rows], [f.psi for f in rows], color=colours)
            axes.bar_label(bars, [f"{f.psi:.2f} {f.verdict}" for f in rows], padding=8, backgroundcolor="white")
            for at, word in ((0.1, "0.1"), (0.25, "0.25")):
                axes.axvline(at, color=GREY, linestyle=":", linewidth=2)
                axes.annotate(word, (at, 1.01), xycoords=("data", "axes fraction"), color=GREY, ha="center")
            axes.set(xlabel="population stability index (PSI)", xlim=(0, max(0.3, *(f.psi for f in rows)) * 1.45))
            axes.invert_yaxis()
        return figure


def drift(reference: Any, current: Any, *, names: Sequence[str] | None = None, seed: int = 0) -> Drift:
    """Compare features (brightness, age, a network's own) of the cases then and now.

    Parameters
    ----------
    reference, current : array of shape (cases, features), or dicts of one sequence a feature
        At least ten cases each. One case a patient, or p promises too much.
    names : sequence of str, optional
        The features' names.

    Raises
    ------
    EvaluationError
        If the features differ, values are missing, or cases are too few.

    Notes
    -----
    PSI: bins at the deciles of the reference, half a case added to each bin; without drift it is about chi-square
    times (1 / n + 1 / m) (Yurdakul and Naranjo, J Risk Model Validation 2020;14(4)). MMD: unbiased, a Gaussian kernel
    as wide as the median distance, features scaled by the reference, 500 permutations (Gretton, JMLR 2012;13:723);
    MONAI's MMDMetric has a linear kernel, which sees the means alone, and wants equally many cases.
    """
    if isinstance(reference, Mapping) and isinstance(current, Mapping):
        if set(reference) != set(current):
            raise EvaluationError(f"Both need the same features; {sorted(reference)} and {sorted(current)} came.")
        names = list(reference)
        reference, current = (np.column_stack([side[name] for name in names]) for side in (reference, current))
    x, y = (np.asarray(side) for side in (reference, current))
    x, y = (side[:, None] if side.ndim == 1 else side for side in (x, y))
    names = [f"feature {i}" for i in range(1, x.shape[-1] + 1)] if names is None else list(names)
    if x.ndim != 2 or y.ndim != 2 or not x.shape[1] == y.shape[1] == len(names) > 0 or min(len(x), len(y)) < 10:
        raise EvaluationError(
            f"(cases, features) with the same {len(names)} features and at least 10 cases are needed; "
            f"{x.shape} and {y.shape} came."
        )
    if any(side.dtype.kind not in "biuf" or not np.isfinite(side).all() for side in (x, y)):
        raise EvaluationError("Features are finite numbers; words, nan or infinity came. Count missing ones apart.")
    x, y = x.astype(float), y.astype(float)
    tests = [ks_2samp(a, b) for a, b in zip(x.T, y.T, strict=True)]
    corrected = false_discovery_control([test.pvalue for test in tests])
    features = []
    for name, a, b, test, p in zip(names, x.T, y.T, tests, corrected, strict=True):
        psi, chance = stability(a, b)
        size = "little" if psi < 0.1 else "some" if psi <= 0.25 else "much"
        verdict = f"{size} drift" if p < 0.05 else "none seen"
        features.append(Feature(name, psi, chance, float(test.statistic), float(p), verdict))
    return Drift(tuple(features), *discrepancy(x, y, seed), (len(x), len(y)))


def stability(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """PSI of one feature, and below what it stays in 95 of 100 without drift."""
    cuts = np.unique(np.quantile(reference, np.linspace(0.1, 0.9, 9)))
    counts = [np.bincount(np.searchsorted(cuts, side), minlength=len(cuts) + 1) + 0.5 for side in (reference, current)]
    p, q = (count / count.sum() for count in counts)
    chance = chi2.ppf(0.95, len(cuts)) * (1 / len(reference) + 1 / len(current))
    return float(((q - p) * np.log(q / p)).sum()), float(chance)


def discrepancy(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float]:
    """MMD² and its p of 500 permutations."""
    rng, scale = np.random.default_rng(seed), np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1)
    x, y = (rng.permutation(side)[:MOST] / scale for side in (x, y))
    both, m, n = np.concatenate([x, y]), len(x), len(y)
    length = (both**2).sum(axis=1)
    square = np.maximum(length[:, None] + length - 2 * both @ both.T, 0)
    kernel = np.exp(-square / (np.median(square[np.triu_indices(m + n, 1)]) or 1))
    np.fill_diagonal(kernel, 0)
    first = np.arange(m + n)[:, None] < m
    sides = np.concatenate([first, rng.permuted(np.repeat(first, 500, axis=1), axis=0)], axis=1).astype(float)
    product = kernel @ sides
    xx, xy = (sides * product).sum(axis=0), ((1 - sides) * product).sum(axis=0)
    mmd = xx / (m * (m - 1)) + (kernel.sum() - xx - 2 * xy) / (n * (n - 1)) - 2 * xy / (m * n)
    return float(mmd[0]), float((mmd >= mmd[0] - 1e-12).sum() / len(mmd))
