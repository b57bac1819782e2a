"""A figure and how far it may be off: the bootstrap, which draws patients and not voxels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval, and the ``n`` patients that it rests on."""

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.level:.0%} CI {self.low:.2f} to {self.high:.2f}, n = {self.n})"

    def __float__(self) -> float:
        return self.value
