"""Chests with nodules: a block of a real CT, bent to another person, with nodules of known kind grown into it.

A nodule takes the place of what it fills: of all of it where it is solid, of a part of the air where it is ground
glass, so that vessels shine through. What is taken of the scan's noise is given back with the same texture, and the
edge has the blur and the slice profile of the scan. All that reaches a voxel is float64, rounded once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from .chest_base import COARSE, COARSE_MM, HEIGHT_MM, PIXEL_MM, PIXELS, Base, Pose, offsets, scan_noise
from .nodules import TISSUE_HU, Growth, Nodule, draw_growth

WALL_HU = -400.0  # half-way from lung to soft tissue
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
        Smallest and largest, of the sphere of the same volume, before a wall cuts it; even over the logarithm;
        what is not solid begins at 8 mm.
    density, margin, place : str, optional
        One of ``DENSITIES``, ``MARGINS``, ``PLACES`` for all nodules; drawn for each.

    Returns
    -------
    images : dict
        "ct": int16 HU, axes (slice, row, column) towards head, posterior and left; LPS mm.
    truth : highdicom.Volume
        uint8 on that grid: more than half of a voxel of value i is nodule i.
    facts : list of dict
        Of each nodule: number, volume_mm3, diameter_mm, centre of mass (LPS mm), box (voxel bounds of slice, row and
        column) and attributes: density, margin, place, attenuation_hu (of the solid, or of the ground glass), core_mm3.

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
    affine, middle = np.zeros((4, 4)), (base.image.affine @ [*pose.centre, 1.0])[:3]
    affine[(2, 1, 0, 3), (0, 1, 2, 3)] = study.thickness, PIXEL_MM, PIXEL_MM, 1.0
    affine[:3, 3] = middle + [axis[0] for axis in study.axes[::-1]]
    facts = [study.grow(one, number, middle) for number, one in enumerate(grown, start=1)]
    hu = study.hu + np.sqrt(np.maximum(0, max(1.0, device.quanta / dose) - study.own**2)) * study.grain
    for millimetres, lift in ((device.blur_mm, -1.0), (0.8, device.edge)):
        if millimetres and lift:
            hu = hu + lift * (hu - ndimage.gaussian_filter(hu, (0, millimetres / PIXEL_MM, millimetres / PIXEL_MM)))
    image = Volume(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16), affine, coordinate_system="PATIENT")
    return {"ct": image}, image.with_array(study.truth), facts


def _plan(base: Base, rng: np.random.Generator, count: int, wish: dict[str, Any]) -> tuple[Pose, list[Growth]]:
    """A pose without any lesion of the base in it, and ``count`` nodules that have found their places."""
    misses = 0  # in all: what does not fit is to be said within seconds
    for _ in range(200):
        pose, grown = Pose.draw(base, rng), list[Growth]()
        inside = pose.coarse(base.lungs) > 0.5
        if inside.mean() < 0.3 or (pose.coarse(base.barred) > 0).any():
            continue
        hu = ndimage.gaussian_filter(pose.coarse(base.image.array), [0.4, 0.7, 0.7])
        lung = (hu > -945) & (hu < -600)  # not the air in the trachea
        depth = ndimage.distance_transform_edt(inside, sampling=COARSE_MM)
        vessel = (hu > WALL_HU) & (depth > 4)
        away = ndimage.distance_transform_edt(~vessel, sampling=COARSE_MM) if vessel.any() else depth
        most = misses + 10
        while len(grown) < count and misses < most:
            found = _settle(rng, lung, depth, away, grown, wish)
            grown += found
            misses += not found
        if len(grown) == count:
            return pose, grown
        if misses >= 100:
            break
    raise ValueError(f"no room for {count} such nodules in the lungs of this CT: ask for fewer or smaller ones")


def _settle(
    rng: np.random.Generator, lung: NDArray, depth: NDArray, away: NDArray, others: list[Growth], wish: dict[str, Any]
) -> list[Growth]:
    """One more nodule at a place that fits it, with aerated lung enough around to be seen; or none."""
    density = wish["density"] or DENSITIES[rng.choice(3, p=(0.6, 0.2, 0.2))]
    margin = wish["margin"] or MARGINS[rng.choice(2 if density == "ground glass" else 3)]
    place = wish["place"] or PLACES[rng.choice(3)]
    low, high = wish["diameters_mm"]
    low = low if density == "solid" else min(max(low, 8.0), high)  # a fainter one is not seen when it is smaller
    one = draw_growth(rng, float(np.exp(rng.uniform(np.log(low), np.log(high)))), density, margin, place)
    half = one.shape.diameter_mm / 2
    most = min(one.shape.reach_mm, 1.4 * half)  # but for its spicules
    airy = ndimage.gaussian_filter(lung.astype(np.float64), half / 1.5 / np.array(COARSE_MM), truncate=2)
    fits = {
        "free": (depth > most + 2) & (away > most + 1.5) & (airy > 0.8),
        "vessel": (depth > most + 2) & (away > 0.4 * half) & (away < 0.9 * half) & (airy > 0.7),
        "pleura": (depth > 0.3 * half) & (depth < 0.7 * half) & (away > half) & (airy > 0.5),
    }[place]
    for axis, where in enumerate(COARSE):
        whole = np.abs(where) < -where[0] - one.shape.reach_mm - 1
        fits &= whole.reshape([-1 if axis == a else 1 for a in range(3)])
    for flat in rng.permutation(np.flatnonzero(fits))[:10]:
        offset = np.array([axis[i] for axis, i in zip(COARSE, np.unravel_index(flat, fits.shape), strict=True)])[::-1]
        gaps = [np.linalg.norm(offset - o.shape.centre) - o.shape.reach_mm - one.shape.reach_mm for o in others]
        if min(gaps, default=9.0) > 2:
            return [one.moved(offset)]
    return []


class _Study:
    """The block on its own grid, while nodules grow into it: HU, the share of the scan's own noise left, the truth."""

    def __init__(self, pose: Pose, thickness: float, rng: np.random.Generator):
        base, self.thickness = pose.base, thickness
        self.axes = (offsets(round(HEIGHT_MM / thickness), thickness), *[offsets(PIXELS, PIXEL_MM)] * 2)
        self.native, self.blur = float(base.image.spacing[0]), base.blur_mm / PIXEL_MM
        self.parts = max(1, round(thickness / self.native))  # so many slices of the base make one
        z = (self.axes[0][:, None] + offsets(self.parts, thickness / self.parts)).ravel()
        stack, depth = pose.planes(base.image.array, z, self.axes[1], 3)
        spline = CubicSpline(np.arange(len(stack)), np.eye(len(stack)))(depth)
        weights = spline.reshape(-1, self.parts, len(stack)).mean(1)
        self.hu, self.grain = (np.tensordot(weights, each, 1) for each in (stack, scan_noise(base, stack.shape, rng)))
        self.own, self.truth = np.ones_like(self.hu), np.zeros(self.hu.shape, np.uint8)
        index = [np.abs(axis[:, None] - coarse).argmin(1) for axis, coarse in zip(self.axes, COARSE, strict=True)]
        near = ndimage.gaussian_filter(pose.coarse(base.lungs), [1.2, 2, 2])[np.ix_(*index)]
        self.free = (near > 0.1) & ((self.hu < WALL_HU) | (near > 0.9))  # lung to where one sees it end, with vessels

    def grow(self, one: Growth, number: int, middle: NDArray) -> dict[str, Any]:
        """Put a nodule in, and return its facts; ``middle`` is that of the block, LPS mm."""
        reach = one.shape.reach_mm + 3
        sides = zip(self.axes, one.shape.centre[::-1], strict=True)
        box: Any = tuple(slice(*np.searchsorted(axis, [c - reach, c + reach])) for axis, c in sides)
        fill, seen = self._cover(one.shape, box)
        inside, hu = fill * self.free[box], self.hu[box]
        kept = float(inside.sum() / fill.sum())
        self.truth[box][inside > 0.5] = number
        tissue, core = one.shape.attenuation, 0.0
        if one.density != "solid":
            air = hu[(inside > 0.5) & (hu < -600)]
            lung = float(np.median(air)) if air.size else -850.0
            tissue = max(tissue, lung + 100)
            glass = (tissue - lung) / (TISSUE_HU - lung)
            seen = glass * self._clouds(seen, one.shape.seed)
        if one.core:
            seen, core = seen + (1 - glass) * self._cover(one.core, box)[1], one.core.volume_mm3 * kept
        self.hu[box] += seen * ((tissue if one.density == "solid" else TISSUE_HU) - hu)
        self.own[box] *= 1 - seen
        shown = inside > (0.5 if inside.max() > 0.5 else inside.max() / 2)  # as in the truth, if it is there at all
        voxels = np.argwhere(shown) + [b.start for b in box]
        volume, weight = one.shape.volume_mm3 * kept, inside / inside.sum()
        places = np.meshgrid(*(axis[side] for axis, side in zip(self.axes, box, strict=True)), indexing="ij")
        centre = [float(m + (weight * place).sum()) for m, place in zip(middle, places[::-1], strict=True)]
        names = {"density": one.density, "margin": one.margin, "place": one.place}
        return {
            "number": number,
            "volume_mm3": volume,
            "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
            "centre": tuple(centre),
            "box": tuple((int(low), int(high) + 1) for low, high in zip(voxels.min(0), voxels.max(0), strict=True)),
            "attributes": {**names, "attenuation_hu": tissue, "core_mm3": core},
        }

    def _clouds(self, seen: NDArray, seed: int) -> NDArray:
        """Ground glass is uneven, by an eighth, and its edge is soft."""
        cloud = np.random.default_rng([seed, 2]).normal(size=seen.shape)
        cloud = ndimage.gaussian_filter(cloud, [1.5 / self.thickness, 2, 2])
        return ndimage.gaussian_filter(seen, (0, 1, 1)) * (1 + np.clip(cloud / cloud.std() / 8, -0.3, 0.3))

    def _cover(self, nodule: Nodule, box: tuple[slice, slice, slice]) -> tuple[NDArray, NDArray]:
        """How much of each voxel a nodule fills, and how much of it the scan would see there."""
        count = 2 * round(self.thickness) + 1
        step = self.thickness / count
        z, y, x = (a[b] for a, b in zip(self.axes, box, strict=True))
        z, part = (z[:, None] + offsets(count, step)).ravel(), offsets(3, PIXEL_MM / 3)
        fine = np.zeros((len(z), len(y), len(x)))
        for dy, dx in zip(part, np.roll(part, 1), strict=True):  # an odd number a voxel: none is exactly half filled
            fine += nodule.contains(np.stack(np.meshgrid(z, y + dy, x + dx, indexing="ij")[::-1], -1))
        fill = fine.reshape(-1, count, *fine.shape[1:]).mean(1) / 3
        fine *= np.repeat(ndimage.binary_dilation(self.free[box]), count, axis=0) / 3  # no dark line along the wall
        for width in (self.native, self.thickness - self.thickness / self.parts):
            fine = ndimage.uniform_filter1d(fine, 2 * round(max(0, width / step - 1) / 2) + 1, axis=0)
        return fill, ndimage.gaussian_filter(fine[count // 2 :: count], (0, self.blur, self.blur))
