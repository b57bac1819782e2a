"""Brains with lesions of the white matter, grown from an atlas: T1, T2 and FLAIR of people whom nobody scanned.

As SynthSeg does it (Billot et al., Med Image Anal 2023;86:102789): the atlas is bent to a person, its tissues are given
signals, and lesions, coil, slices and noise are added. The brain is bare, as the atlas is: what a skull-stripping tool
leaves, with zeros around it. All that reaches a voxel is float64, rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

from .brain_lesions import Lesion, change, draw_lesions, evolve

SHAPE, VOXEL_MM = (80, 96, 80), 2.0
CORNER = np.array([-79.0, -76.0, -80.0])  # of the grid: slice (z), row (y) and column (x) of its first voxel, LPS mm
CONTRASTS = ("t1", "t2", "flair")


@dataclass(frozen=True)
class Scanner:
    """A signature: signal of fluid, gray and white matter in each contrast, and how the machine blurs and falters."""

    t1: tuple[float, float, float]
    t2: tuple[float, float, float]
    flair: tuple[float, float, float]
    noise: float  # standard deviation in each of the two channels, at a dose of 1 and its own slices
    bias: float  # of the coil's sensitivity: standard deviation of its logarithm
    blur_mm: float
    thickness_mm: float = VOXEL_MM


SCANNERS = {
    "A": Scanner((130, 330, 480), (880, 430, 330), (70, 400, 330), noise=14, bias=0.06, blur_mm=0.9),  # 1.5 T
    "B": Scanner((110, 390, 640), (960, 450, 310), (50, 450, 350), noise=9, bias=0.13, blur_mm=0.5),  # 3 T
    # 1 T, years of service: thick slices, little contrast.
    "C": Scanner((150, 300, 390), (760, 420, 350), (100, 370, 320), noise=20, bias=0.09, blur_mm=1.3, thickness_mm=5.0),
}
# The signal of a lesion, in that of white matter. FLAIR: the range at which the recipe of the lessons was measured (at
# 1.25 to 1.6 it needs more people); fixed before any held-out brain was looked at. On T1 from nearly even to a "black
# hole", on T2 between gray matter and fluid.
LESION = {"t1": (0.62, 0.95), "t2": (1.5, 2.1), "flair": (1.45, 1.9)}


@dataclass(frozen=True, eq=False)
class Atlas:
    """An average brain to grow people from; make it once, and use it for many.

    Attributes
    ----------
    t1, gray, white : highdicom.Volume
        Signal (0 outside the brain) and the probability of gray and of white matter (0 to 255), on one grid of about
        1 mm; axes (slice, row, column) towards head, posterior and left.
    """

    t1: Volume
    gray: Volume
    white: Volume

    @cached_property
    def tissues(self) -> NDArray:
        """Share of fluid, gray and white matter in each voxel: (3, slice, row, column), float32 from 0 to 1.

        An average of many people is sure of little: what is likely is made likelier, so that gyri have an edge again.
        """
        inside = ndimage.binary_closing(self.t1.array > 0, iterations=2)
        gray, white = (v.array / 255.0 for v in (self.gray, self.white))
        shares = np.stack([np.where(inside, np.maximum(1 - gray - white, 0), 0), gray, white]) * inside
        shares = (shares * np.array([1.2, 1, 1])[:, None, None, None]) ** 2.5
        return (shares / np.maximum(shares.sum(0), 1e-9) * inside).astype(np.float32)

    @cached_property
    def coarse(self) -> tuple[NDArray, NDArray, NDArray]:
        """At every second voxel: where lesions lie (1 periventricular, 2 juxtacortical, 3 deep), the way out of the
        ventricles (3, slice, row, column), and how strongly the brain around them gives way.
        """  # fmt: skip
        step = 2 * float(self.t1.spacing[0])
        fluid, gray, white = self.tissues[:, ::2, ::2, ::2].astype(np.float64)
        depth = ndimage.distance_transform_edt(fluid + gray + white > 0, sampling=step)
        parts, _ = ndimage.label((fluid > 0.5) & (depth > 24))
        sizes = np.bincount(parts.ravel(), minlength=2)[1:]
        ventricles = parts == 1 + int(np.argmax(sizes))
        away = ndimage.distance_transform_edt(~ventricles, sampling=step)
        cortex = ndimage.distance_transform_edt(gray < 0.6, sampling=step)
        low = np.flatnonzero(ventricles.any((1, 2)))[0]  # no lesions below: pons and cerebellum are fine textures
        above = (np.arange(len(fluid)) >= low)[:, None, None] & (white > 0.8)
        place = np.zeros(fluid.shape, np.uint8)
        place[above & (cortex > 5) & (away > 9) & (depth > 10)] = 3
        place[above & (cortex < 3.5) & (away > 9) & (depth < 20)] = 2
        place[above & (away < 6)] = 1
        soft = ndimage.gaussian_filter(ventricles.astype(np.float64), 5 / step)
        out = -np.stack(np.gradient(soft))
        return place, out / np.maximum(np.sqrt((out**2).sum(0)), 1e-9), out / np.sqrt((out**2).sum(0)).max()

    @cached_property
    def near(self) -> NDArray:
        """At every fourth voxel: whether the brain is near."""
        inside = ndimage.maximum_filter(self.tissues.sum(0) > 0, 9)
        return ndimage.maximum_filter(inside[::4, ::4, ::4], 3)

    def blurred(self, blur_mm: float) -> NDArray:
        """Return the tissues as a scanner sees them; kept for the next person."""
        if not blur_mm:
            return self.tissues
        kept: dict[float, NDArray] = self.__dict__.setdefault("_blurred", {})
        if blur_mm not in kept:
            sigma = [blur_mm / float(s) for s in self.t1.spacing]
            kept[blur_mm] = np.stack([ndimage.gaussian_filter(tissue, sigma) for tissue in self.tissues])
        return kept[blur_mm]

    def index(self, mm: NDArray) -> NDArray:
        """Where places (z, y, x in mm, along the first axis) lie in the atlas."""
        column = [-1] + [1] * (mm.ndim - 1)
        return (mm - self.t1.affine[2::-1, 3].reshape(column)) / np.array(self.t1.spacing).reshape(column)


def _waves(rng: np.random.Generator, shape: tuple[int, ...], modes: int) -> NDArray:
    """A smooth random field of standard deviation about 1: products of cosines, the finer the weaker."""
    order = np.stack(np.meshgrid(*[np.arange(modes)] * 3, indexing="ij"))
    field = rng.normal(size=(modes,) * 3) / (1 + (order**2).sum(0))
    field[0, 0, 0] = 0
    field /= np.sqrt((1 / (1 + (order**2).sum(0)) ** 2 * 0.5 ** (order > 0).sum(0)).sum() - 1)
    for n in shape:  # each turn takes the first axis and appends it, on the grid
        waves = np.cos(np.pi * np.arange(modes)[:, None] * (np.arange(n) + 0.5) / n)
        field = np.einsum("ijk,in->jkn", field, waves)
    return field


@dataclass(frozen=True)
class _Person:
    """A bent atlas: where in it each voxel comes from (z, y, x in mm), and how wide the sulci are."""

    atlas: Atlas
    source: NDArray
    fluid: float

    @classmethod
    def draw(cls, atlas: Atlas, rng: np.random.Generator, age: float, sex: str) -> _Person:
        """One at random. The atlas is larger than people are; ventricles and sulci widen from the age of 40 on."""
        size = (0.955 if sex == "M" else 0.915) * rng.normal(1, 0.02) * (1 + rng.normal(0, 0.02, 3))
        a, b, c = rng.normal(0, [0.06, 0.03, 0.03])  # nods, tilts, turns
        nod = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        tilt = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
        turn = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
        matrix, years = nod @ tilt @ turn / size[:, None], max(0.0, age - 40) / 40
        grid = [start + VOXEL_MM * np.arange(n) for start, n in zip(CORNER, SHAPE, strict=True)]
        middle, shift = np.array([4.0, 18.0, 0.0]), rng.normal(0, 1.5, 3)
        z, y, x = np.meshgrid(*(g - m for g, m in zip(grid, middle, strict=True)), indexing="ij", sparse=True)
        wide = max(-0.5, rng.normal(0.2 + 3.2 * years, 0.6 + 0.8 * years))  # mm that the ventricles' wall gives way
        source = np.empty((3, *SHAPE))
        for axis, row in enumerate(matrix):
            place = row[0] * z + row[1] * y + row[2] * x + (middle + shift)[axis]
            source[axis] = place + 2.4 * _waves(rng, SHAPE, 5) + 0.5 * _waves(rng, SHAPE, 9)
        near = np.rint(atlas.index(source) / 2).astype(int)
        for axis, n in enumerate(atlas.coarse[0].shape):
            np.clip(near[axis], 0, n - 1, out=near[axis])
        source -= wide * atlas.coarse[2][:, near[0], near[1], near[2]]
        return cls(atlas, source, float(np.exp(rng.normal(0.9 * years - 0.2, 0.25))))

    def tissues(self, blur_mm: float, box: tuple[slice, ...] = (slice(None),) * 3) -> NDArray:
        """Share of fluid, gray and white matter in each voxel of a box: (3, slice, row, column)."""
        at = self.atlas.index(self.source[(slice(None), *box)])
        maps = self.atlas.blurred(blur_mm)
        near = np.clip(np.rint(at).astype(int), 0, np.array(maps.shape[1:])[:, None, None, None] - 1)
        some = self.atlas.near[near[0] // 4, near[1] // 4, near[2] // 4]
        shares = np.zeros((3, *some.shape))
        for share, one in zip(shares, maps, strict=True):
            share[some] = ndimage.map_coordinates(one, at[:, some], np.float64, order=1, mode="constant")
        inside = shares.sum(0)
        shares[0] *= self.fluid
        return shares * (inside / np.maximum(shares.sum(0), 1e-9))

    def find(self, rng: np.random.Generator, kind: int) -> tuple[NDArray, NDArray]:
        """Return a place for a lesion of this kind (z, y, x in mm of the grid), and the way out of the ventricles."""
        places = np.argwhere(self.atlas.coarse[0] == kind)
        at = places[rng.integers(len(places))]
        wanted = self.atlas.t1.affine[2::-1, 3] + 2 * at * np.array(self.atlas.t1.spacing)
        voxel = np.array(SHAPE) / 2
        for _ in range(6):  # where does it lie in this person?
            z, y, x = np.clip(np.rint(voxel).astype(int), 0, np.array(SHAPE) - 1)
            voxel = voxel + (wanted - self.source[:, z, y, x]) / 1.07 / VOXEL_MM
        return CORNER + VOXEL_MM * voxel, self.atlas.coarse[1][(slice(None), *at)]


def grow_brain(
    atlas: Atlas,
    seed: int,
    *,
    scanner: str = "A",
    dose: float = 1.0,
    thickness_mm: float | None = None,
    lesions: int | None = None,
    age: float = 60,
    sex: str = "F",
    times: int = 1,
) -> list[tuple[dict[str, Volume], Volume, list[dict[str, Any]]]]:
    """Grow one person, and image him or her at one or more time points; images of all lie on one grid.

    Parameters
    ----------
    atlas : Atlas
        The average brain.
    seed : int
        The person. The same seed on another scanner, at another dose or thickness, is the same person imaged anew.
    scanner : str
        "A" (1.5 T), "B" (3 T: another contrast, sharper, less noise, an uneven coil) or "C" (old: 5 mm slices, noise).
    dose : float
        Averages, 1 is normal; at 0.25 the noise doubles.
    thickness_mm : float, optional
        Slice thickness and spacing; that of the scanner. Thinner slices of the same scanner have more noise.
    lesions : int, optional
        How many at the first time point; drawn from 1 to 6.
    age : float
        Years: ventricles and sulci widen.
    sex : str
        "F" or "M": the size of the head.
    times : int
        How many time points. Who has lesions may get new ones.

    Returns
    -------
    list of (images, truth, facts)
        For each time point. images: "t1", "t2", "flair", int16 (slice, row, column), axes towards head, posterior and
        left, LPS mm, 0 outside the brain. truth: uint8 on that grid, more than half of a voxel of value i is lesion i.
        facts, for each lesion that is there: number, volume_mm3, diameter_mm (of the sphere of that volume), centre
        (LPS mm), box (voxel bounds of slice, row and column), attributes: place, change (since the time before).
        A number that is missing later is a lesion that has gone.

    Raises
    ------
    ValueError
        If so many lesions do not fit.
    """
    device = SCANNERS[scanner]
    body, sick, fate = (np.random.default_rng([seed, part]) for part in range(3))
    person = _Person.draw(atlas, body, age, sex)
    drawn = int(sick.integers(1, 7))
    count = drawn if lesions is None else lesions
    sizes = evolve(fate, count, times)
    grown = draw_lesions(sick, len(sizes), sizes, person.find, LESION)
    shares = person.tissues(device.blur_mm)
    signals = {name: body.normal(1, 0.03, 3) * getattr(device, name) for name in CONTRASTS}
    slices = _slices(thickness_mm or device.thickness_mm)
    noise = device.noise * device.thickness_mm / slices.mm / np.sqrt(dose)
    found, before = [], [0.0] * len(grown)
    for time in range(times):
        fills = list(_fills(person, grown, time))
        truth, facts, before = _truth(fills, grown, slices, before)
        film = np.random.default_rng([seed, 3, time])
        brain = slices.cut(shares.sum(0)) > 0.5
        images = {}
        for name in CONTRASTS:
            signal = np.einsum("t,tijk->ijk", signals[name], shares)
            texture = 1 + 0.06 * _waves(film, SHAPE, 24)
            for one, (box, fill) in zip(grown, fills, strict=True):
                seen = ndimage.gaussian_filter(fill, device.blur_mm / VOXEL_MM, mode="constant")
                signal[box] += seen * (one.signal[name] * signals[name][2] * texture[box] - signal[box])
            signal *= np.exp(device.bias * _waves(film, SHAPE, 3))
            real = slices.cut(signal)[brain]
            image = np.zeros(brain.shape, np.int16)
            first, second = film.normal(0, noise, (2, len(real)))
            image[brain] = np.rint(np.clip(np.sqrt((real + first) ** 2 + second**2), 1, 4095))  # Rician
            images[name] = truth.with_array(image)
        found.append((images, truth, facts))
    return found


@dataclass(frozen=True)
class _slices:
    """Thick slices: the means of what they cover of the grid."""

    mm: float

    @cached_property
    def weight(self) -> NDArray:
        """How much of slice s of the grid is in slice t: (t, s)."""
        count = int(np.ceil(SHAPE[0] * VOXEL_MM / self.mm - 1e-6))
        edge, low = np.arange(SHAPE[0]) * VOXEL_MM, np.arange(count)[:, None] * self.mm
        return np.clip(np.minimum(edge + VOXEL_MM, low + self.mm) - np.maximum(edge, low), 0, None) / self.mm

    def cut(self, array: NDArray) -> NDArray:
        if self.mm == VOXEL_MM:
            return array
        return np.einsum("ts,sij->tij", self.weight, array)

    @property
    def affine(self) -> NDArray:
        affine = np.zeros((4, 4))
        affine[(2, 1, 0, 3), (0, 1, 2, 3)] = self.mm, VOXEL_MM, VOXEL_MM, 1.0
        affine[:3, 3] = CORNER[::-1] + np.array([0, 0, (self.mm - VOXEL_MM) / 2])
        return affine


def _fills(person: _Person, grown: list[Lesion], time: int) -> Iterator[tuple[Any, NDArray]]:
    """How much of each voxel the lesions fill: of the tissue only, and each voxel once."""
    taken = np.zeros(SHAPE)
    for one in grown:
        if not one.size[time]:
            yield (slice(0), slice(0), slice(0)), np.zeros((0, 0, 0))
            continue
        box, fill = one.fill(time, CORNER, VOXEL_MM, SHAPE)
        _, gray, white = person.tissues(0, box)
        fill *= np.minimum(white + (0.5 if one.place == "juxtacortical" else 1) * gray, 1 - taken[box])
        taken[box] += fill
        yield box, fill


def _truth(
    fills: list[tuple[Any, NDArray]], grown: list[Lesion], slices: _slices, before: list[float]
) -> tuple[Volume, list[dict[str, Any]], list[float]]:
    """The mask, the facts of the lesions that are there, and the volumes of all."""
    labels, facts = np.zeros((len(slices.weight), *SHAPE[1:]), np.uint8), []
    volumes = [float(fill.sum()) * VOXEL_MM**3 for _, fill in fills]
    for number, ((box, fill), one) in enumerate(zip(fills, grown, strict=True), start=1):
        if not fill.size:
            continue
        whole = np.zeros(SHAPE)
        whole[box] = fill
        share = slices.cut(whole)
        labels[share > 0.5] = number
        voxels = np.argwhere(share > min(0.5, share.max() / 2))
        middle = np.argwhere(fill > 0) + [b.start for b in box]
        centre = CORNER + VOXEL_MM * np.average(middle, axis=0, weights=fill[fill > 0])
        facts.append(
            {
                "number": number,
                "volume_mm3": (volume := volumes[number - 1]),
                "diameter_mm": float((6 * volume / np.pi) ** (1 / 3)),
                "centre": tuple(float(mm) for mm in centre[::-1]),
                "box": tuple((int(a), int(b) + 1) for a, b in zip(voxels.min(0), voxels.max(0), strict=True)),
                "attributes": {"place": one.place, "change": change(volume, before[number - 1])},
            }
        )
    return Volume(labels, slices.affine, coordinate_system="PATIENT"), facts, volumes
