"""Lesions of the white matter: their places, their shapes, what becomes of them, and their exact measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

PLACES = ("periventricular", "juxtacortical", "deep white")
_SHARES = (0.45, 0.25, 0.30)
_DIAMETERS_MM = ((6.0, 17.0), (5.0, 11.0), (5.0, 14.0))  # of the sphere of the same volume
_LONGER = ((1.4, 2.3), (1.0, 1.5), (1.0, 1.5))  # the long axis in the others: Dawson's fingers leave the ventricle
_MOST = 1.26  # a lesion grows to twice its volume and no further
_POINTS = 4  # a voxel is measured at so many points along each side

Box: TypeAlias = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: their side, and the centre of the first (z, y, x), LPS mm."""

    shape: tuple[int, int, int]
    mm: float
    corner: tuple[float, float, float]

    @property
    def axes(self) -> list[NDArray]:
        """The coordinates of slices, rows and columns, mm."""
        return [start + self.mm * np.arange(n) for start, n in zip(self.corner, self.shape, strict=True)]

    def slices(self, mm: float) -> Slices:
        """Return the slices of this thickness that cover the grid."""
        low, fine = np.arange(int(np.ceil(self.shape[0] * self.mm / mm - 1e-6)))[:, None] * mm, self.axes[0]
        fine = fine - fine[0]
        shared = np.clip(np.minimum(fine + self.mm, low + mm) - np.maximum(fine, low), 0, None)
        affine = np.zeros((4, 4))
        affine[(2, 1, 0, 3), (0, 1, 2, 3)] = mm, self.mm, self.mm, 1.0
        affine[:3, 3] = self.corner[2], self.corner[1], self.corner[0] + (mm - self.mm) / 2
        return Slices(self, mm, shared / mm, affine)


@dataclass(frozen=True)
class Slices:
    """Thick slices: each is the mean of what it covers of the grid."""

    grid: Grid
    mm: float
    share: NDArray  # of each slice (first axis) that a slice of the grid makes up
    affine: NDArray

    def cut(self, array: NDArray, of: slice = slice(None)) -> NDArray:
        """Return the slices of what is known on the grid, or on some slices of it."""
        same = self.mm == self.grid.mm and of == slice(None)
        return array if same else np.einsum("ts,sij->tij", self.share[:, of], array)


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

    def fill(self, size: float, grid: Grid) -> tuple[Box, NDArray]:
        """How much of each voxel it fills, and the box of the grid in which that is, with two voxels around it."""
        ends = [(self.centre + side * size * self.reach_mm - grid.corner) / grid.mm for side in (-1, 1)]
        low, high = np.floor(ends[0]).astype(int) - 2, np.ceil(ends[1]).astype(int) + 3
        z, y, x = (slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, grid.shape, strict=True))
        place = np.stack(np.meshgrid(*(a[b] for a, b in zip(grid.axes, (z, y, x), strict=True)), indexing="ij"), -1)
        filled = (self._depth(place, size) > 0).astype(np.float64)
        mixed = np.abs(self._depth(place, size)) < 0.3 + 1.8 * grid.mm / np.sqrt((self.axes**2).sum(1)).min() / size
        part = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * grid.mm
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
    lesions: Sequence[Lesion], time: int, grid: Grid, tissues: Callable[[float, Box], NDArray]
) -> list[tuple[int, Lesion, Box, NDArray]]:
    """How much of each voxel the lesions that are there fill: of its tissue, not of the fluid, and each voxel once."""
    taken, fills = np.zeros(grid.shape), []
    for number, one in enumerate(lesions, start=1):
        if one.sizes[time]:
            box, fill = one.fill(one.sizes[time], grid)
            _, gray, white = tissues(0.0, box)
            fill *= np.minimum(white + (0.5 if one.place == "juxtacortical" else 1.0) * gray, 1 - taken[box])
            taken[box] += fill
            fills.append((number, one, box, fill))
    return fills


def measure(
    fills: Sequence[tuple[int, Lesion, Box, NDArray]], slices: Slices, before: dict[int, float]
) -> tuple[Volume, list[dict[str, Any]]]:
    """Return the mask of the lesions in these slices, and their facts; ``before``: volumes at the time before."""
    grid, facts = slices.grid, []
    labels = np.zeros((len(slices.share), *grid.shape[1:]), np.uint8)
    for number, one, box, fill in fills:
        share = slices.cut(fill, box[0])
        labels[:, box[1], box[2]][share > 0.5] = number
        voxels = np.argwhere(share > min(0.5, share.max() / 2)) + np.array([0, box[1].start, box[2].start])
        weights = [fill.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
        centre = [float((w * a[b]).sum() / w.sum()) for w, a, b in zip(weights, grid.axes, box, strict=True)]
        volume = float(fill.sum()) * grid.mm**3
        facts.append(
            {
                "number": number,
                "volume_mm3": volume,
                "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
                "centre": tuple(centre[::-1]),
                "box": tuple((int(a), int(b) + 1) for a, b in zip(voxels.min(0), voxels.max(0), strict=True)),
                "attributes": {"place": one.place, "change": change(volume, before.get(number, 0.0))},
            }
        )
    return Volume(labels, slices.affine, coordinate_system="PATIENT"), facts
