"""Lesions of the white matter: their places, their shapes, what becomes of them, and their exact measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

PLACES = ("periventricular", "juxtacortical", "deep white")
SHAPE, MM = (80, 96, 80), 2.0  # the grid on which people lie: slices, rows, columns
CORNER = np.array([-79.0, -76.0, -80.0])  # where its first voxel is: z, y and x, LPS mm
AXES = [start + MM * np.arange(n) for start, n in zip(CORNER, SHAPE, strict=True)]
_SHARES = (0.45, 0.25, 0.30)
_DIAMETERS_MM = ((6.0, 18.0), (6.0, 12.0), (6.0, 15.0))  # of the sphere of the same volume
_LONGER = ((1.4, 2.3), (1.0, 1.5), (1.0, 1.5))  # the long axis in the others: Dawson's fingers leave the ventricle
_MOST = 1.26  # a lesion grows to twice its volume and no further
_POINTS = 4  # a voxel is measured at so many points along each side

Box: TypeAlias = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Slices:
    """Thick slices over the grid: each is the mean of what it covers."""

    mm: float

    @cached_property
    def share(self) -> NDArray:
        """How much of each (first axis) a slice of the grid makes up."""
        low, fine = np.arange(np.ceil(SHAPE[0] * MM / self.mm - 1e-6))[:, None] * self.mm, np.arange(SHAPE[0]) * MM
        return np.clip(np.minimum(fine + MM, low + self.mm) - np.maximum(fine, low), 0, None) / self.mm

    def cut(self, array: NDArray, of: slice = slice(None)) -> NDArray:
        """Return the slices of what is known on the grid, or on some slices of it."""
        return array if self.mm == MM and of == slice(None) else np.einsum("ts,sij->tij", self.share[:, of], array)

    def volume(self, array: NDArray) -> Volume:
        """Return an array of these slices in its place."""
        affine = np.zeros((4, 4))
        affine[(2, 1, 0, 3), (0, 1, 2, 3)] = self.mm, MM, MM, 1.0
        affine[:3, 3] = CORNER[::-1] + np.array([0, 0, (self.mm - MM) / 2])
        return Volume(array, affine, coordinate_system="PATIENT")


@dataclass(frozen=True)
class Lesion:
    """An ovoid with an uneven surface; places and axes in (z, y, x), mm.

    Each row of ``axes`` is a half axis, each of ``bumps`` has wave numbers and a phase. ``sizes`` says by how much the
    axes have grown at each time point (0: not there), ``signal`` how bright it is, in that of white matter.
    """

    place: str
    centre: NDArray
    axes: NDArray
    bumps: NDArray
    sizes: tuple[float, ...]
    signal: dict[str, float]

    @property
    def reach_mm(self) -> float:
        """How far it reaches from its centre at most, at size 1."""
        return 1.3 * float(np.sqrt((self.axes**2).sum(1)).max())

    def fill(self, size: float) -> tuple[Box, NDArray]:
        """How much of each voxel it fills, and the box of the grid in which that is, with two voxels around it."""
        ends = [(self.centre + side * size * self.reach_mm - CORNER) / MM for side in (-1, 1)]
        low, high = np.floor(ends[0]).astype(int) - 2, np.ceil(ends[1]).astype(int) + 3
        z, y, x = (slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, SHAPE, strict=True))
        place = np.stack(np.meshgrid(*(a[b] for a, b in zip(AXES, (z, y, x), strict=True)), indexing="ij"), -1)
        depth = self._depth(place, size)
        filled, mixed = (
            (depth > 0).astype(np.float64),
            np.abs(depth) < 0.3 + 1.8 * MM / np.sqrt((self.axes**2).sum(1)).min() / size,
        )
        part = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * MM
        points = np.stack(np.meshgrid(part, part, part, indexing="ij"), -1).reshape(-1, 3)
        filled[mixed] = (self._depth(place[mixed][:, None] + points, size) > 0).mean(1)
        return (z, y, x), filled

    def _depth(self, place: NDArray, size: float) -> NDArray:
        """How deep a place lies in it: 1 at its centre, 0 at its surface, less outside."""
        away = place - self.centre
        z, y, x = (
            (away[..., 0] * a + away[..., 1] * b + away[..., 2] * c) / ((a * a + b * b + c * c) * size)
            for a, b, c in self.axes
        )
        surface = 1.0 + 0.07 * sum(np.sin(a * z + b * y + c * x + d) for a, b, c, d in self.bumps)
        return np.asarray(surface - np.sqrt(z * z + y * y + x * x))


def draw_lesions(
    rng: np.random.Generator,
    fates: Sequence[tuple[float, ...]],
    find: Callable[[np.random.Generator, int], tuple[NDArray, NDArray]],
    signal: dict[str, tuple[float, float]],
) -> list[Lesion]:
    """Draw a lesion for each fate, apart from each other for as long as they may grow.

    ``find`` returns a place for a kind of `PLACES`, and the way out of the ventricles there; ValueError if not all fit.
    """
    lesions: list[Lesion] = []
    for sizes in fates:
        for _ in range(60):
            one = _draw(rng, sizes, find, signal)
            apart = [np.sqrt(((one.centre - o.centre) ** 2).sum()) for o in lesions]
            if all(mm > _MOST * (one.reach_mm + o.reach_mm) for mm, o in zip(apart, lesions, strict=True)):
                lesions.append(one)
                break
        else:
            raise ValueError(f"no room for {len(fates)} lesions in this brain: ask for fewer")
    return lesions


def _draw(rng: np.random.Generator, sizes: tuple[float, ...], find: Any, signal: Any) -> Lesion:
    kind = int(rng.choice(3, p=_SHARES))
    radius, longer = np.exp(rng.uniform(*np.log(_DIAMETERS_MM[kind]))) / 2, rng.uniform(*_LONGER[kind]) ** (1 / 3)
    half = radius * np.array([longer**2, 1.15 / longer, 1 / 1.15 / longer])
    centre, way = find(rng, kind)
    way, side = (way if kind == 0 else rng.normal(size=3)), rng.normal(size=3)
    way = way / np.sqrt((way**2).sum())
    side = np.cross(way, side)
    side /= np.sqrt((side**2).sum())
    if kind == 0:
        centre = centre + way * (half[0] - 3)  # its inner end lies at the ventricle
    bumps = np.concatenate([rng.normal(0, 1.9, (5, 3)), rng.uniform(0, 2 * np.pi, (5, 1))], 1)
    bright = {name: float(rng.uniform(*ends)) for name, ends in signal.items()}
    return Lesion(
        PLACES[kind], centre, np.stack([way, side, np.cross(way, side)]) * half[:, None], bumps, sizes, bright
    )


def evolve(rng: np.random.Generator, count: int, times: int) -> list[tuple[float, ...]]:
    """Return the sizes over time of the lesions of one patient: of the first time point, then of those that appear.

    A third each is stable, grows to twice its volume at most, or shrinks until it has gone. At each later time point
    every other patient with lesions gets a new one.
    """
    fates = []
    for _ in range(count):
        low, high = ((-0.01, 0.01), (0.07, 0.16), (-0.3, -0.1))[rng.integers(3)]
        step = np.exp(rng.uniform(low, high))
        fates.append([min(_MOST, step**time) for time in range(times)])
    births = [time for time in range(1, times if count else 1) if rng.random() < 0.5]
    fates += [[float(time >= born) for time in range(times)] for born in births]
    return [tuple(size if size > 0.45 else 0.0 for size in fate) for fate in fates]


def change(now: float, before: float) -> str:
    """What it is called: by a fifth of its volume and more a lesion has grown or shrunk."""
    if not before:
        return "new"
    return "grown" if now > 1.2 * before else "shrunk" if now < 0.8 * before else "stable"


def fill_all(
    lesions: Sequence[Lesion], time: int, tissues: Callable[[float, Box], NDArray]
) -> list[tuple[int, Lesion, Box, NDArray]]:
    """How much of each voxel the lesions that are there fill: of its tissue, not of the fluid, and each voxel once."""
    taken, fills = np.zeros(SHAPE), []
    for number, one in enumerate(lesions, start=1):
        if one.sizes[time]:
            box, fill = one.fill(one.sizes[time])
            _, gray, white = tissues(0.0, box)
            fill *= np.minimum(white + (0.5 if one.place == "juxtacortical" else 1.0) * gray, 1 - taken[box])
            taken[box] += fill
            fills.append((number, one, box, fill))
    return fills


def measure(
    fills: Sequence[tuple[int, Lesion, Box, NDArray]], slices: Slices, before: dict[int, float] | None
) -> tuple[Volume, list[dict[str, Any]]]:
    """Return the mask of the lesions in these slices, and their facts; ``before``: volumes at the time before."""
    facts, labels = [], np.zeros((len(slices.share), *SHAPE[1:]), np.uint8)
    for number, one, box, fill in fills:
        share = slices.cut(fill, box[0])
        labels[:, box[1], box[2]][share > 0.5] = number
        seen = share > (0.5 if share.max() > 0.5 else share.max() / 2)  # as in the mask, if it is there at all
        voxels = np.argwhere(seen) + np.array([0, box[1].start, box[2].start])
        weights = [fill.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
        centre = [float((w * a[b]).sum() / w.sum()) for w, a, b in zip(weights, AXES, box, strict=True)]
        volume = float(fill.sum()) * MM**3
        changed = {} if before is None else {"change": change(volume, before.get(number, 0.0))}
        facts.append(
            {
                "number": number,
                "volume_mm3": volume,
                "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
                "centre": tuple(centre[::-1]),
                "box": tuple((int(a), int(b) + 1) for a, b in zip(voxels.min(0), voxels.max(0), strict=True)),
                "attributes": {"place": one.place, **changed},
            }
        )
    return slices.volume(labels), facts
