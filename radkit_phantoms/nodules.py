"""Lung nodules of known shape, put into a real CT: training data whose truth is exact.

A nodule is star-shaped: a radius for each direction, so its volume is the integral of r³/3 over the sphere and it is
scaled to exactly the volume asked for. It enters the image as the scanner would have seen it: each voxel takes the
fraction of its own box (slice thickness included) that the nodule fills, blurred in the plane like the reconstruction,
with noise borrowed from the soft tissue of the same scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

SITES = ("lung", "vessel", "pleura")
TISSUE_HU = 30.0  # what ground glass is made of, between the air


@dataclass(frozen=True)
class Nodule:
    """One solid nodule: its centre in LPS mm, and the diameter of the sphere that has the same volume.

    ``lobes`` are bumps on its surface, from broad lobes to narrow spicules; 0 is a smooth ellipsoid. ``attenuation`` is
    its mean in HU (solid nodules without contrast: about 0 to 60). ``seed`` fixes its shape and its noise. ``spicules``
    are thin spikes that taper to a point, one or two millimetres wide where they leave it; ``roughness`` is how much
    the surface undulates: the standard deviation of the radius, as a share of it.
    """

    centre: tuple[float, float, float]
    diameter_mm: float
    lobes: int = 0
    attenuation: float = 30.0
    seed: int = 0
    spicules: int = 0
    roughness: float = 0.0

    @property
    def volume_mm3(self) -> float:
        """Its volume, mm³."""
        return float(np.pi / 6 * self.diameter_mm**3)

    @cached_property
    def _form(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Matrix of the half-axes; unit vectors, sharpness and heights of the lobes."""
        rng = np.random.default_rng(self.seed)
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        stretch = rotation * rng.uniform(0.75, 1.25, 3) @ rotation.T
        lobes = rng.normal(size=(self.lobes, 3))
        lobes /= np.linalg.norm(lobes, axis=1, keepdims=True)
        sharpness = np.exp(rng.uniform(np.log(8), np.log(60), self.lobes))  # about 40 to 15 degrees across
        heights = rng.uniform(0.2, 0.8, self.lobes)
        spikes = rng.normal(size=(self.spicules, 3))
        spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
        narrow = (self.diameter_mm / 2 / rng.uniform(0.4, 0.7, self.spicules)) ** 2
        lobes, sharpness = np.concatenate([lobes, spikes]), np.concatenate([sharpness, narrow])
        return stretch, lobes, sharpness, np.concatenate([heights, rng.uniform(0.4, 1.1, self.spicules)])

    def _profile(self, directions: NDArray) -> NDArray:
        """Radius along each unit vector of ``directions`` (..., 3), before it is scaled to the volume."""
        stretch, lobes, sharpness, heights = self._form
        bumps = np.exp((directions @ lobes.T - 1) * sharpness) @ heights
        if self.roughness:
            waves = np.random.default_rng([self.seed, 1]).normal(0, 3, (3, 10))
            bumps += self.roughness * np.sin(directions @ waves + np.arange(10)).sum(-1) / 5**0.5
        return (1 + bumps) / np.linalg.norm(directions @ stretch, axis=-1)

    @cached_property
    def _radii(self) -> tuple[float, float, float]:
        """Scale of the profile that gives the volume asked for; smallest and largest radius, mm."""
        n = 8000 if self.spicules else 4000  # Fibonacci lattice: even points on the sphere, error under 0.1 %
        height = 1 - (2 * np.arange(n) + 1) / n
        angle, ring = np.arange(n) * np.pi * (3 - 5**0.5), np.sqrt(1 - height**2)
        radii = self._profile(np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=-1))
        tips = self._profile(self._form[1][self.lobes :]).max(initial=0.0)
        scale = self.diameter_mm / 2 / np.mean(radii**3) ** (1 / 3)
        return float(scale), float(0.97 * scale * radii.min()), float(1.03 * scale * max(radii.max(), tips))

    @property
    def reach_mm(self) -> float:
        """A radius that nothing of the nodule passes."""
        return self._radii[2]

    @property
    def inner_mm(self) -> float:
        """The radius of a sphere that lies within it."""
        return self._radii[1]

    def contains(self, points: NDArray) -> NDArray:
        """Whether each point, (..., 3) in LPS mm, lies inside."""
        offset = points - np.asarray(self.centre, points.dtype)
        distance = np.linalg.norm(offset, axis=-1)
        scale, nearest, farthest = self._radii
        inside = distance < nearest  # the very centre has no direction
        near = ~inside & (distance < farthest)
        radius = scale * self._profile(offset[near] / distance[near, None])
        inside[near] = distance[near] < radius
        return inside


@dataclass(frozen=True)
class Growth:
    """A nodule of known kind: its outline, the solid core within it where it is part-solid, and what it is called."""

    shape: Nodule
    core: Nodule | None
    density: str
    margin: str
    place: str

    def moved(self, offset: NDArray) -> Growth:
        """The same, ``offset`` mm (left, posterior, head) farther."""
        return replace(self, shape=_moved(self.shape, offset), core=self.core and _moved(self.core, offset))


def _moved(nodule: Nodule, offset: NDArray) -> Nodule:
    x, y, z = (float(a + b) for a, b in zip(nodule.centre, offset, strict=True))
    return replace(nodule, centre=(x, y, z))


def draw_growth(rng: np.random.Generator, diameter: float, density: str, margin: str, place: str) -> Growth:
    """Draw a nodule with its centre at 0; a core lies within the largest sphere that fits into it."""
    lobes = int(rng.integers(4, 9)) if margin == "lobulated" else 0
    spicules = int(rng.uniform(1.5, 3) * (6 + diameter)) if margin == "spiculated" else 0
    rough = float(rng.uniform(0.03, 0.06) if margin == "smooth" else rng.uniform(0.06, 0.12))
    attenuation = float(rng.uniform(10, 70) if density == "solid" else rng.uniform(-650, -450))
    shape = Nodule((0.0, 0.0, 0.0), diameter, lobes, attenuation, int(rng.integers(2**31)), spicules, rough)
    if density != "part-solid":
        return Growth(shape, None, density, margin, place)
    core = Nodule(shape.centre, shape.inner_mm * float(rng.uniform(0.8, 1.4)), 5, TISSUE_HU, shape.seed, 0, rough)
    way = rng.normal(size=3) * rng.uniform(0.3, 1.0)
    aside = max(0.0, shape.inner_mm - core.reach_mm) * way / max(1.0, float(np.linalg.norm(way)))
    return Growth(shape, _moved(core, aside), density, margin, place)


def insert_nodules(
    volume: Volume, nodules: Sequence[Nodule], *, within: Volume | None = None, blur_mm: float = 0.6
) -> tuple[Volume, Volume]:
    """Put nodules into a CT in HU; where two overlap, the later one wins.

    They stay inside the mask ``within``, if there is one (the lungs: a nodule at the pleura then ends at the wall, and
    its true volume is what the returned mask holds). ``blur_mm`` is the standard deviation of the blur in the plane:
    the sharpness of the reconstruction. Returns the CT, int16, and the truth on the same grid (slice, row, column):
    voxels more than half filled by nodule ``i`` are ``i + 1``.
    """
    image, truth = volume.array.astype(np.float32), np.zeros(volume.spatial_shape, np.uint8)
    grain = _soft_tissue_grain(volume)
    for number, nodule in enumerate(nodules, start=1):
        box, filled = fill(volume, nodule, within)
        truth[box][filled > 0.5] = number
        sharpness = [0, *(blur_mm / np.asarray(volume.spacing[1:]))]
        blurred = ndimage.gaussian_filter(filled, sharpness)
        texture = nodule.attenuation + _tile(grain, filled.shape, np.random.default_rng(nodule.seed))
        image[box] += blurred * (texture - image[box])
    return volume.with_array(np.rint(image).astype(np.int16)), volume.with_array(truth)


def place_nodules(
    volume: Volume, lungs: Volume, count: int, *, seed: int, diameters_mm: tuple[float, float] = (5.0, 30.0)
) -> list[Nodule]:
    """Choose ``count`` nodules inside the lungs (a mask on the CT's grid) that do not touch each other.

    A third lies free in the lung, a third on a vessel, a third on the pleura. Diameters are spread evenly over the
    logarithm, as small ones are the more frequent; every second one is lobulated. Where no room is left, fewer come
    back.
    """
    rng = np.random.default_rng(seed)
    step: Any = tuple(slice(None, None, max(1, round(3 / s))) for s in volume.spacing)  # 3 mm will do for a centre
    volume, lungs = volume[step], lungs[step]
    depth = ndimage.distance_transform_edt(lungs.array > 0, sampling=volume.spacing)
    chosen: list[Nodule] = []
    for number in range(count):
        diameter = float(np.exp(rng.uniform(*np.log(diameters_mm))))
        candidates = np.flatnonzero(_site(volume.array, depth, SITES[number % 3], diameter))
        for flat in rng.permutation(candidates)[:20]:
            centre = volume.affine @ [*np.unravel_index(flat, depth.shape), 1.0]
            lobes = int(rng.integers(4, 12)) if rng.random() < 0.5 else 0
            point = (float(centre[0]), float(centre[1]), float(centre[2]))
            nodule = Nodule(point, diameter, lobes, float(rng.uniform(0, 60)), int(rng.integers(2**31)))
            apart = all(np.linalg.norm(centre[:3] - o.centre) > nodule.reach_mm + o.reach_mm for o in chosen)
            if apart and _in_air(volume, lungs, nodule):
                chosen.append(nodule)
                break
    return chosen


def _site(hu: NDArray, depth: NDArray, site: str, diameter: float) -> NDArray:
    """Voxels that may be the centre of a nodule of ``diameter`` mm at a site."""
    if site == "pleura":
        return (depth > 0.25 * diameter) & (depth < 0.45 * diameter)
    vessel = (hu > -300) & (depth > 5)  # away from the wall, what is bright in a lung is a vessel
    if site == "vessel":
        return ndimage.binary_dilation(vessel, iterations=2) & (depth > 0.6 * diameter)
    return ~vessel & (depth > 0.6 * diameter)


def _in_air(volume: Volume, lungs: Volume, nodule: Nodule) -> bool:
    """Whether a nodule would stand out: seven tenths of it replace lung, not vessel, mediastinum or airway."""
    box, filled = fill(volume, nodule, lungs)
    hu = volume.array[box][filled > 0.5]
    return bool(hu.size and np.mean((hu > -950) & (hu < -400)) > 0.7)


def _box(volume: Volume, nodule: Nodule) -> tuple[slice, slice, slice]:
    """The part of the grid that a nodule and its blur can reach."""
    centre = (np.linalg.inv(volume.affine) @ [*nodule.centre, 1.0])[:3]
    reach = (nodule.reach_mm + 3) / np.asarray(volume.spacing)
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.clip(np.ceil(centre + reach).astype(int) + 1, low, volume.spatial_shape)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def fill(volume: Volume, nodule: Nodule, within: Volume | None = None) -> tuple[tuple[slice, slice, slice], NDArray]:
    """The part of the grid that a nodule can reach, and how much of each of its voxels the nodule fills, 0 to 1.

    Measured at points about half a millimetre apart; outside the mask ``within`` nothing is filled.
    """
    box = _box(volume, nodule)
    index = np.stack(np.meshgrid(*(np.arange(b.start, b.stop) for b in box), indexing="ij"), axis=-1)
    steps = [2 * round(s / 1.45) + 1 for s in volume.spacing]  # odd: no voxel is exactly half filled
    offsets = list(product(*((np.arange(n) + 0.5) / n - 0.5 for n in steps)))
    matrix, origin = volume.affine[:3, :3], volume.affine[:3, 3]
    filled = np.zeros(index.shape[:3], np.float32)
    for offset in offsets:
        filled += nodule.contains(((index + offset) @ matrix.T + origin).astype(np.float32))
    filled /= len(offsets)
    return box, filled if within is None else filled * (within.array[box] > 0)


def _soft_tissue_grain(volume: Volume, *, side_mm: float = 20.0) -> NDArray:
    """The noise of the evenest block of soft tissue in a CT, mean zero: the grain that its nodules would show."""
    rng = np.random.default_rng(0)
    size = np.minimum(np.maximum(2, np.rint(side_mm / np.asarray(volume.spacing))).astype(int), volume.spatial_shape)
    best, least = np.zeros((1, 1, 1), np.float32), np.inf
    for corner in rng.integers(0, np.asarray(volume.spatial_shape) - size + 1, (4000, 3)):
        block = volume.array[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))]
        if -50 < block[0, 0, 0] < 300 and 0 < (spread := block.std()) < least and -20 < block.mean() < 250:
            best, least = block.astype(np.float32), float(spread)
    smooth = ndimage.gaussian_filter(best, 4 / np.asarray(volume.spacing))
    return best - smooth


def _tile(grain: NDArray, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray:
    """``grain`` repeated by reflection to ``shape``, from a random start."""
    start = [int(rng.integers(n)) for n in grain.shape]
    wanted = [(0, s + n) for s, n in zip(start, shape, strict=True)]
    tiled = np.pad(grain, [(0, max(0, w[1] - n)) for w, n in zip(wanted, grain.shape, strict=True)], mode="symmetric")
    return tiled[tuple(slice(s, w[1]) for s, w in zip(start, wanted, strict=True))]
