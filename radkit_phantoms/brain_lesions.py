"""Lesions of the white matter: their places, their shapes, and what becomes of them over the years."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACES = ("periventricular", "juxtacortical", "deep white")
_SHARE = (0.45, 0.25, 0.30)
_DIAMETER_MM = ((6.0, 17.0), (5.0, 10.0), (5.0, 13.0))  # of the sphere of the same volume
_LONGER = ((1.4, 2.3), (1.0, 1.5), (1.0, 1.5))  # the long axis in the others: Dawson's fingers leave the ventricle
MOST = 1.26  # a lesion grows to twice its volume and no further
_POINTS = 4  # a voxel is measured at so many points along each side


@dataclass(frozen=True)
class Lesion:
    """An ovoid with an uneven surface; places and axes in (z, y, x), mm.

    ``axes`` has a half axis in each row, ``bumps`` wave numbers and a phase in each, ``size`` is the factor by which
    the half axes have grown at each time point (0: not there), ``signal`` says how it differs in each contrast.
    """

    place: str
    centre: NDArray
    axes: NDArray
    bumps: NDArray
    size: tuple[float, ...]
    signal: dict[str, float]

    @property
    def reach_mm(self) -> float:
        """No part of it is farther from its centre, where its size is 1."""
        return 1.3 * float(np.sqrt((self.axes**2).sum(1)).max())

    def fill(self, time: int, corner: NDArray, mm: float, shape: tuple[int, ...]) -> tuple[Any, NDArray]:
        """How much of each voxel it fills, and the box of the grid in which that is."""
        reach = self.reach_mm * self.size[time]
        first = np.floor((self.centre - reach - corner) / mm).astype(int) - 2  # room for the scanner's blur
        last = np.ceil((self.centre + reach - corner) / mm).astype(int) + 3
        box = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(first, last, shape, strict=True))
        part = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * mm
        z, y, x = (
            ((start + mm * np.arange(b.start, b.stop))[:, None] + part).ravel() - middle
            for b, start, middle in zip(box, corner, self.centre, strict=True)
        )
        along = [
            (axis[0] * z[:, None, None] + axis[1] * y[:, None] + axis[2] * x) / (axis**2).sum() / self.size[time]
            for axis in self.axes
        ]
        surface = 1 + 0.07 * sum(np.sin(a * along[0] + b * along[1] + c * along[2] + d) for a, b, c, d in self.bumps)
        inside = along[0] ** 2 + along[1] ** 2 + along[2] ** 2 < surface**2
        a, b, c = (b.stop - b.start for b in box)
        return box, inside.reshape(a, _POINTS, b, _POINTS, c, _POINTS).mean((1, 3, 5), dtype=np.float64)


def draw_lesions(
    rng: np.random.Generator,
    count: int,
    sizes: list[tuple[float, ...]],
    find: Callable[[np.random.Generator, int], tuple[NDArray, NDArray]],
    signal: dict[str, tuple[float, float]],
) -> list[Lesion]:
    """Draw lesions that keep apart from each other, for as long as they may grow.

    ``find`` returns a place in the person for a kind (1, 2, 3, as in ``PLACES``), and the way out of the ventricles
    there. Raises ValueError if they do not fit.
    """
    lesions: list[Lesion] = []
    for size in sizes[:count]:
        for _ in range(40):
            one = _draw(rng, size, find, signal)
            gaps = [np.sqrt(((one.centre - o.centre) ** 2).sum()) - MOST * (one.reach_mm + o.reach_mm) for o in lesions]
            if min(gaps, default=9.0) > 1:
                lesions.append(one)
                break
        else:
            raise ValueError(f"no room for {count} lesions in this brain: ask for fewer")
    return lesions


def _draw(rng: np.random.Generator, size: tuple[float, ...], find: Any, signal: dict[str, Any]) -> Lesion:
    kind = int(np.searchsorted(np.cumsum(_SHARE), rng.random() * 0.999))
    radius = float(np.exp(rng.uniform(*np.log(_DIAMETER_MM[kind])))) / 2
    longer = rng.uniform(*_LONGER[kind]) ** (1 / 3)
    centre, way = find(rng, kind + 1)
    if kind:
        way = rng.normal(size=3)
    way = way / np.sqrt((way**2).sum())
    side = np.cross(way, rng.normal(size=3))
    side /= np.sqrt((side**2).sum())
    half = radius * np.array([longer**2, 1.15 / longer, 1 / 1.15 / longer])
    axes = np.stack([way, side, np.cross(way, side)]) * half[:, None]
    if kind == 0:
        centre = centre + way * (half[0] - 3)  # its inner end at the ventricle
    bumps = np.concatenate([rng.normal(0, 1.9, (5, 3)), rng.uniform(0, 2 * np.pi, (5, 1))], 1)
    drawn = {name: float(rng.uniform(*ends)) for name, ends in signal.items()}
    return Lesion(PLACES[kind], centre, axes, bumps, size, drawn)


def evolve(rng: np.random.Generator, count: int, times: int) -> list[tuple[float, ...]]:
    """The sizes over time of the lesions of one patient: those of the first time point, then those that appear.

    A third each is stable, grows or shrinks, up to a doubling and down to nothing; one half of the patients gets a new
    lesion at each later time point.
    """
    sizes = []
    for _ in range(count):
        fate = rng.integers(3)
        step = float(np.exp(rng.uniform(*((-0.01, 0.01), (0.07, 0.16), (-0.3, -0.1))[fate])))
        sizes.append(tuple(s if (s := min(MOST, step**t)) > 0.45 else 0.0 for t in range(times)))
    for born in range(1, times if count else 1):
        if rng.random() < 0.5:
            sizes.append(tuple(0.0 if t < born else 1.0 for t in range(times)))
    return sizes


def change(now: float, before: float) -> str:
    """What a radiologist would call it: a fifth more or less of its volume is growing or shrinking."""
    if before <= 0:
        return "new"
    return "grown" if now > 1.2 * before else "shrunk" if now < 0.8 * before else "stable"
