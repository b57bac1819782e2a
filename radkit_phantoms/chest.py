"""Chests with nodules: a block of a real CT, bent to another person, with nodules of known kind grown into it.

A nodule takes the place of what it fills: of all of it where it is solid, of a part of the air where it is ground
glass, so that vessels shine through. What is taken of the scan's noise is given back with the same texture, and the
edge has the blur and the slice profile of the scan. All that reaches a voxel is float64, rounded once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.interpolate import CubicSpline

from .lung_mask import lungs
from .nodules import Nodule

PIXELS, PIXEL_MM, HEIGHT_MM = 128, 0.75, 100.0
TISSUE_HU, WALL_HU = 30.0, -400.0  # what ground glass is made of; half-way from lung to soft tissue
DENSITIES = ("solid", "part-solid", "ground glass")
MARGINS = ("smooth", "lobulated", "spiculated")
PLACES = ("free", "vessel", "pleura")


@dataclass(frozen=True)
class Scanner:
    """A signature: blur of the kernel in mm or how much it lifts edges, the variance of its noise, its slices."""

    blur_mm: float = 0.0
    edge: float = 0.0
    quanta: float = 1.0  # variance of the noise, in that of the scan the chest comes from
    thickness_mm: float = 2.5


SCANNERS = {
    "A": Scanner(),  # a soft kernel
    "B": Scanner(edge=1.2, quanta=1.5),  # a sharp one
    "C": Scanner(blur_mm=0.7, quanta=3.0, thickness_mm=5.0),  # thick slices, and years of service
}


@dataclass(frozen=True, eq=False)
class Base:
    """A real chest CT to grow patients from; make it once for each CT, and use it for many.

    Attributes
    ----------
    image : highdicom.Volume
        HU; axes (slice, row, column) towards head, posterior and left.
    lesion : highdicom.Volume, optional
        Mask of the lesions it has of its own, on the same grid: no study shows any of them.
    """

    image: Volume
    lesion: Volume | None = None

    @cached_property
    def lungs(self) -> NDArray:
        """Mask of the lungs, bool."""
        return lungs(self.image).array > 0

    @cached_property
    def barred(self) -> NDArray:
        """The lesions with a rim of 4 mm, bool."""
        own = np.zeros(self.image.spatial_shape, bool) if self.lesion is None else self.lesion.array > 0
        return ndimage.maximum_filter(own, [2 * int(np.ceil(4 / s)) + 1 for s in self.image.spacing])

    @cached_property
    def blur_mm(self) -> float:
        """Standard deviation of the blur of an edge in the plane."""
        return max(0.65, 0.65 * float(self.image.spacing[2]))

    @cached_property
    def noise(self) -> tuple[float, NDArray, NDArray]:
        """Standard deviation of the noise in even soft tissue, HU; its spectrum: cycles per mm, relative amplitude."""
        pixel = float(self.image.spacing[2])
        size = max(8, round(22 / pixel))
        hu = self.image.array.astype(np.int64)
        rows, columns = (n // size for n in hu.shape[1:])
        tiles = hu[:, : rows * size, : columns * size].reshape(len(hu), rows, size, columns, size)
        tiles = tiles.swapaxes(2, 3).reshape(-1, size, size)
        total, squares, n = tiles.sum((1, 2)), (tiles**2).sum((1, 2)), size**2
        spread = np.where((total > -20 * n) & (total < 250 * n), n * squares - total**2, 0)
        even = np.flatnonzero(spread > 0)
        even = even[np.argsort(spread[even], kind="stable")][:60]
        grain = tiles[even].astype(np.float64)
        grain -= ndimage.gaussian_filter(grain, (0, 5 / pixel, 5 / pixel), mode="nearest")
        window = np.outer(np.hanning(size), np.hanning(size))
        power = (np.abs(fft.fft2(grain * window)) ** 2).mean(0)
        frequency = fft.fftfreq(size, pixel)
        ring = np.rint(np.hypot(frequency[:, None], frequency) * size * pixel).astype(int)
        rings = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
        return float(grain.std()), np.arange(len(rings)) / (size * pixel), np.sqrt(rings)


@dataclass(frozen=True)
class _Pose:
    """Where the block is cut, and how this person differs from the base: turned, stretched, bent in the plane."""

    base: Base
    centre: NDArray  # index in the base: slice, row, column
    turn: float
    stretch: NDArray  # slice, row, column
    waves: NDArray  # each: two wave numbers per mm, phase, two amplitudes in mm

    @classmethod
    def draw(cls, base: Base, rng: np.random.Generator) -> _Pose:
        """One at random, its centre in a lung, and the whole block inside the field of view."""
        half = np.array([HEIGHT_MM / 2, *[PIXELS * PIXEL_MM / 2 * 1.15] * 2]) * 1.08
        low = np.ceil(half / base.image.spacing).astype(int)
        high = np.maximum(low, np.asarray(base.image.spatial_shape) - low)
        room = base.lungs[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        if not room.any():
            raise ValueError(f"no block of {HEIGHT_MM:.0f} mm fits into this CT with a lung in its middle")
        centre = np.array(np.unravel_index(rng.choice(np.flatnonzero(room)), room.shape)) + low
        waves = np.concatenate([rng.normal(0, 0.05, (4, 2)), rng.uniform(0, 6.3, (4, 1)), rng.normal(0, 1, (4, 2))], 1)
        return cls(base, centre, rng.uniform(-0.12, 0.12), rng.uniform(0.93, 1.07, 3), waves)

    def depth(self, z: NDArray) -> NDArray:
        """Slices of the base at ``z``, mm from the middle of the block."""
        return self.centre[0] + self.stretch[0] * z / self.base.image.spacing[0]

    def planes(self, array: NDArray, z: NDArray, side: NDArray, order: int) -> tuple[NDArray, NDArray]:
        """All slices of ``array`` that ``z`` needs, bent, on rows and columns ``side`` (mm); and z, counted in them."""
        y, x = np.meshgrid(side, side, indexing="ij")
        bends = [np.sin(a * y + b * x + phase) for a, b, phase in self.waves[:, :3]]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        at, crop, depth = [], [], self.depth(z)
        for axis, turned in ((1, cos * y - sin * x), (2, sin * y + cos * x)):
            moved = turned * self.stretch[axis]
            for bend, amplitude in zip(bends, self.waves[:, 2 + axis], strict=True):
                moved = moved + amplitude * bend
            where = self.centre[axis] + moved / self.base.image.spacing[axis]
            crop.append(slice(start := max(0, int(where.min()) - 8), int(where.max()) + 9))
            at.append(where - start)
        first, last = max(0, int(depth.min()) - 3), min(len(array), int(depth.max()) + 5)
        bent = [
            ndimage.map_coordinates(plane.astype(np.float64), at, order=order, mode="nearest")
            for plane in array[first:last, crop[0], crop[1]]
        ]
        return np.stack(bent), np.clip(depth - first, 0, last - first - 1)

    def coarse(self, array: NDArray) -> NDArray:
        """``array`` on the grid on which nodules are placed: the same for every scanner and thickness."""
        stack, depth = self.planes(array, _COARSE[0], _COARSE[1], 1)
        low = np.minimum(depth.astype(int), len(stack) - 2)
        part = (depth - low)[:, None, None]
        return (1 - part) * stack[low] + part * stack[low + 1]


def _offsets(count: int, step: float) -> NDArray:
    """Middles of ``count`` steps, mm from their common middle."""
    return (np.arange(count) - (count - 1) / 2) * step


_COARSE_MM = (2.5, 1.5, 1.5)
_COARSE = (_offsets(40, 2.5), _offsets(64, 1.5), _offsets(64, 1.5))


@dataclass(frozen=True)
class _Grown:
    """A nodule, its centre in mm from the middle of the block, its solid core, and of what kind it is."""

    shape: Nodule
    core: Nodule | None
    density: str
    margin: str
    place: str

    def moved(self, offset: NDArray) -> _Grown:
        """The same, ``offset`` mm (left, posterior, head) farther."""
        return replace(self, shape=_moved(self.shape, offset), core=self.core and _moved(self.core, offset))


def _moved(nodule: Nodule, offset: NDArray) -> Nodule:
    x, y, z = (float(a + b) for a, b in zip(nodule.centre, offset, strict=True))
    return replace(nodule, centre=(x, y, z))


def _draw(rng: np.random.Generator, diameter: float, density: str, margin: str, place: str) -> _Grown:
    """A nodule at the middle of the block; its core lies within its smallest radius."""
    lobes = int(rng.integers(4, 9)) if margin == "lobulated" else 0
    spicules = int(rng.integers(10, 22)) if margin == "spiculated" else 0
    attenuation = float(rng.uniform(10, 70) if density == "solid" else rng.uniform(-650, -450))
    seed = int(rng.integers(2**31))
    shape = Nodule((0.0, 0.0, 0.0), diameter, lobes, attenuation, seed, spicules)
    if density != "part-solid":
        return _Grown(shape, None, density, margin, place)
    core = Nodule((0.0, 0.0, 0.0), shape.inner_mm * float(rng.uniform(0.8, 1.4)), 0, TISSUE_HU, seed)
    way = rng.normal(size=3)
    aside = (shape.inner_mm - core.reach_mm) * rng.uniform(0, 0.9) * way / np.linalg.norm(way)
    return _Grown(shape, _moved(core, aside), density, margin, place)


def _plan(base: Base, rng: np.random.Generator, count: int, wish: dict[str, Any]) -> tuple[_Pose, list[_Grown]]:
    """A pose without any lesion of the base in it, and ``count`` nodules that have found their places."""
    for _ in range(60):
        pose = _Pose.draw(base, rng)
        inside = pose.coarse(base.lungs) > 0.5
        if inside.mean() < 0.3 or (pose.coarse(base.barred) > 0).any():
            continue
        grown: list[_Grown] = []
        hu = pose.coarse(base.image.array)
        depth = ndimage.distance_transform_edt(inside, sampling=_COARSE_MM)
        vessel = (hu > WALL_HU) & (depth > 4)
        away = ndimage.distance_transform_edt(~vessel, sampling=_COARSE_MM) if vessel.any() else depth
        for _ in range(8 * count):
            if len(grown) < count:
                grown += _settle(rng, inside, depth, vessel, away, grown, wish)
        if len(grown) == count:
            return pose, grown
    raise ValueError(f"no room for {count} such nodules in the lungs of this CT: ask for fewer or smaller ones")


def _settle(
    rng: np.random.Generator, inside: NDArray, depth: NDArray, vessel: NDArray, away: NDArray,
    others: list[_Grown], wish: dict[str, Any],
) -> list[_Grown]:  # fmt: skip
    """One more nodule at a place that fits it, or none."""
    density = wish["density"] or DENSITIES[rng.choice(3, p=(0.6, 0.2, 0.2))]
    margin = wish["margin"] or MARGINS[rng.choice(2 if density == "ground glass" else 3)]
    place = wish["place"] or PLACES[rng.choice(3)]
    one = _draw(rng, float(np.exp(rng.uniform(*np.log(wish["diameters_mm"])))), density, margin, place)
    half = one.shape.diameter_mm / 2
    fits = {
        "free": (depth > half + 2) & (away > half + 1),
        "vessel": (depth > half + 2) & (away > 0.4 * half) & (away < 0.9 * half),
        "pleura": (depth > 0.3 * half) & (depth < 0.7 * half) & (away > half),
    }[place]
    for axis, where in enumerate(_COARSE):
        near = np.abs(where) < -where[0] - one.shape.reach_mm - 1
        fits &= near.reshape([-1 if axis == a else 1 for a in range(3)])
    for flat in rng.permutation(np.flatnonzero(fits))[:10]:
        offset = np.array([axis[i] for axis, i in zip(_COARSE, np.unravel_index(flat, fits.shape), strict=True)])[::-1]
        gaps = [np.linalg.norm(offset - o.shape.centre) - o.shape.reach_mm - one.shape.reach_mm for o in others]
        if min(gaps, default=9.0) > 2:
            return [one.moved(offset)]
    return []


class _Study:
    """The block on its own grid, while nodules grow into it: HU, the share of the scan's own noise left, the truth."""

    def __init__(self, pose: _Pose, thickness: float, rng: np.random.Generator):
        base, self.thickness = pose.base, thickness
        self.axes = (_offsets(round(HEIGHT_MM / thickness), thickness), *[_offsets(PIXELS, PIXEL_MM)] * 2)
        self.native, self.blur = float(base.image.spacing[0]), base.blur_mm / PIXEL_MM
        self.parts = max(1, round(thickness / self.native))  # so many slices of the base make one
        z = (self.axes[0][:, None] + _offsets(self.parts, thickness / self.parts)).ravel()
        stack, depth = pose.planes(base.image.array, z, self.axes[1], 3)
        self.hu = self._slices(stack, depth)
        self.grain = self._slices(_noise(base, stack.shape, rng), depth)
        self.own, self.truth = np.ones_like(self.hu), np.zeros(self.hu.shape, np.uint8)
        steps = [(a - c[0]) / (c[1] - c[0]) for a, c in zip(self.axes, _COARSE, strict=True)]
        near = ndimage.gaussian_filter(pose.coarse(base.lungs), [1.2, 2, 2])
        near = ndimage.map_coordinates(near, np.meshgrid(*steps, indexing="ij"), order=1, mode="nearest")
        self.free = (near > 0.1) & ((self.hu < WALL_HU) | (near > 0.9))  # lung to where one sees it end, with vessels

    def _slices(self, stack: NDArray, depth: NDArray) -> NDArray:
        """The slices of the study: means of the planes of a stack at ``depth``, by cubic spline."""
        planes = CubicSpline(np.arange(len(stack)), stack)(depth)
        return planes.reshape(-1, self.parts, *planes.shape[1:]).mean(1)

    def grow(self, one: _Grown, number: int) -> dict[str, Any]:
        """Put a nodule in, and return its facts, the centre in mm from the middle of the block."""
        reach = one.shape.reach_mm + 3
        ends = [
            np.searchsorted(a, [c - reach, c + reach]) for a, c in zip(self.axes, one.shape.centre[::-1], strict=True)
        ]
        box: Any = tuple(slice(*end) for end in ends)
        fill, seen = self._cover(one.shape, box)
        inside, hu = fill * self.free[box], self.hu[box]
        kept = float(inside.sum() / fill.sum())
        self.truth[box][inside > 0.5] = number
        share, tissue, core = seen, one.shape.attenuation, 0.0
        if one.density != "solid":
            air = hu[(inside > 0.5) & (hu < -600)]
            part = (tissue - (lung := float(np.median(air)) if air.size else -850.0)) / (TISSUE_HU - lung)
            share, tissue = part * seen, TISSUE_HU
        if one.core:
            share, core = share + (1 - part) * self._cover(one.core, box)[1], one.core.volume_mm3 * kept
        self.hu[box] = (1 - share) * hu + share * tissue
        self.own[box] *= 1 - share
        voxels = np.argwhere(inside > min(0.5, inside.max() / 2)) + [b.start for b in box]
        return {
            "number": number,
            "volume_mm3": (volume := one.shape.volume_mm3 * kept),
            "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
            "centre": one.shape.centre,
            "box": tuple((int(low), int(high) + 1) for low, high in zip(voxels.min(0), voxels.max(0), strict=True)),
            "attributes": {
                "density": one.density,
                "margin": one.margin,
                "place": one.place,
                "attenuation_hu": one.shape.attenuation,
                "core_mm3": core,
            },
        }

    def _cover(self, nodule: Nodule, box: tuple[slice, slice, slice]) -> tuple[NDArray, NDArray]:
        """How much of each voxel a nodule fills, and how much of it the scan would see there."""
        count = 2 * round(self.thickness) + 1
        step = self.thickness / count
        z, y, x = (a[b] for a, b in zip(self.axes, box, strict=True))
        z, part = (z[:, None] + _offsets(count, step)).ravel(), _offsets(3, PIXEL_MM / 3)
        fine = np.zeros((len(z), len(y), len(x)))
        for dy, dx in product(part, part):
            fine += nodule.contains(np.stack(np.meshgrid(z, y + dy, x + dx, indexing="ij")[::-1], -1)) / 9
        fill = fine.reshape(-1, count, *fine.shape[1:]).mean(1)
        fine *= np.repeat(ndimage.binary_dilation(self.free[box]), count, axis=0)  # no dark line along the wall
        for width in (self.native, self.thickness - self.thickness / self.parts):
            fine = ndimage.uniform_filter1d(fine, 2 * round(max(0, width / step - 1) / 2) + 1, axis=0)
        return fill, ndimage.gaussian_filter(fine[count // 2 :: count], (0, self.blur, self.blur))


def _noise(base: Base, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray:
    """Noise in HU with the texture and strength of that of the base, (slice, row, column)."""
    deviation, frequency, amplitude = base.noise
    axis = fft.fftfreq(PIXELS, PIXEL_MM)
    gain = np.interp(np.hypot(axis[:, None], axis), frequency, amplitude, right=0.0)
    gain[0, 0] = 0
    field = fft.irfft2(fft.rfft2(rng.normal(size=shape)) * gain[:, : PIXELS // 2 + 1], shape[1:])
    return deviation / np.sqrt((gain**2).mean()) * field


def grow_chest(
    base: Base,
    seed: int,
    *,
    scanner: str = "A",
    dose: float = 1.0,
    thickness_mm: float | None = None,
    nodules: int | None = None,
    diameters_mm: tuple[float, float] = (6.0, 25.0),
    density: str | None = None,
    margin: str | None = None,
    place: str | None = None,
) -> tuple[dict[str, Volume], Volume, list[dict[str, Any]]]:
    """Grow one patient: a block of 96 mm by 96 mm by 100 mm of a bent chest, with nodules.

    Parameters
    ----------
    base : Base
        The CT that the patient is grown from.
    seed : int
        The patient. The same seed on another scanner, at another dose or thickness, is the same patient imaged anew.
    scanner : str
        "A" (soft kernel), "B" (sharp kernel: edges lifted, noisier) or "C" (5 mm slices, blurred and noisy).
    dose : float
        1 is normal; at 0.25 the noise doubles. Noise is only ever added: the base's own is the least there can be.
    thickness_mm : float, optional
        Slice thickness and spacing; that of the scanner.
    nodules : int, optional
        How many: 0 for a patient without; drawn from 1 to 3.
    diameters_mm : (float, float)
        Smallest and largest, of the sphere of the same volume; even over the logarithm.
    density, margin, place : str, optional
        One of ``DENSITIES``, ``MARGINS``, ``PLACES`` for all nodules; drawn for each.

    Returns
    -------
    images : dict
        "ct": int16 HU, axes (slice, row, column) towards head, posterior and left; LPS mm.
    truth : highdicom.Volume
        uint8 on that grid: more than half of a voxel of value i is nodule i.
    facts : list of dict
        Of each nodule: number, volume_mm3, diameter_mm, centre (LPS mm), box (voxel bounds of slice, row and column)
        and attributes: density, margin, place, attenuation_hu (of the solid, or of the ground glass), core_mm3.

    Raises
    ------
    ValueError
        If no block, or not so many nodules, fit into the lungs of the base.
    """
    device = SCANNERS[scanner]
    body, film = (np.random.default_rng([seed, part]) for part in (0, 1))
    drawn = int(body.integers(1, 4))
    wish = {"density": density, "margin": margin, "place": place, "diameters_mm": diameters_mm}
    pose, grown = _plan(base, body, drawn if nodules is None else nodules, wish)
    study = _Study(pose, thickness_mm or device.thickness_mm, film)
    facts = [study.grow(one, number) for number, one in enumerate(grown, start=1)]
    hu = study.hu + np.sqrt(np.maximum(0, max(1.0, device.quanta / dose) - study.own**2)) * study.grain
    for millimetres, weight in ((device.blur_mm, -1.0), (0.8, device.edge)):
        if millimetres and weight:
            hu = hu + weight * (hu - ndimage.gaussian_filter(hu, (0, millimetres / PIXEL_MM, millimetres / PIXEL_MM)))
    affine, middle = np.zeros((4, 4)), (base.image.affine @ [*pose.centre, 1.0])[:3]
    affine[(2, 1, 0, 3), (0, 1, 2, 3)] = study.thickness, PIXEL_MM, PIXEL_MM, 1.0
    affine[:3, 3] = middle + [axis[0] for axis in study.axes[::-1]]
    for fact in facts:
        fact["centre"] = tuple(float(a + b) for a, b in zip(fact["centre"], middle, strict=True))
    image = Volume(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16), affine, coordinate_system="PATIENT")
    return {"ct": image}, image.with_array(study.truth), facts
