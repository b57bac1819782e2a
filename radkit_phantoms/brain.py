"""Brains with lesions of the white matter, grown from an atlas: T1, T2 and FLAIR of people whom nobody scanned.

As SynthSeg does it (Billot et al., Med Image Anal 2023;86:102789): the atlas is bent to a person, its tissues get their
signals, then come lesions, slices, coil and noise. The brain is bare, as the atlas is: what a skull-stripping tool
leaves, with 0 around it. All that reaches a voxel is float64, rounded once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .brain_lesions import AXES, CORNER, MM, SHAPE, Box, Slices, draw_lesions, evolve, fill_all, measure

MIDDLE = np.array([4.0, 18.0, 0.0])  # of the brain in the atlas: heads nod and turn about it


@dataclass(frozen=True)
class Scanner:
    """A signature: signal of fluid, gray and white matter in each contrast, and how the machine blurs and falters."""

    t1: tuple[float, float, float]
    t2: tuple[float, float, float]
    flair: tuple[float, float, float]
    noise: float  # standard deviation in each of the two channels, at a dose of 1 and in slices of its own thickness
    bias: float  # of the coil's sensitivity: standard deviation of its logarithm
    blur_mm: float
    thickness_mm: float = 2.0


SCANNERS = {
    "A": Scanner((130, 330, 480), (880, 430, 330), (70, 400, 330), noise=12, bias=0.06, blur_mm=0.8),  # 1.5 T
    "B": Scanner((110, 390, 640), (960, 450, 310), (50, 450, 350), noise=8, bias=0.14, blur_mm=0.4),  # 3 T
    # 1 T, years of service: thick slices, little contrast
    "C": Scanner((150, 300, 390), (760, 420, 350), (100, 370, 320), noise=16, bias=0.08, blur_mm=1.2, thickness_mm=5.0),
}
# The signal of a lesion, in that of white matter. FLAIR: the range at which the recipe of the lessons was measured (at
# 1.25 to 1.6 it needs far more people); fixed before any held-out brain was looked at. T1: from nearly even to a "black
# hole". T2: above gray matter, below fluid.
LESION = {"t1": (0.62, 0.95), "t2": (1.5, 2.1), "flair": (1.45, 1.9)}


class Atlas:
    """An average brain to grow people from; making it takes two seconds: make it once, and use it for many.

    Parameters
    ----------
    t1, gray, white : highdicom.Volume
        Signal (0 outside the brain) and the probability of gray and of white matter (0 to 255), on one grid of 1 mm;
        axes (slice, row, column) towards head, posterior and left.
    """

    # tissues: share of fluid, gray and white matter, float32 (3, slice, row, column), 1 mm; corner: where its first
    # voxel lies (z, y, x). At every second voxel: near, whether the brain is within 8 mm; places, for each of PLACES
    # the indices of where its lesions lie; out, the way out of the ventricles, 1 at their wall and 0 far away.

    def __init__(self, t1: Volume, gray: Volume, white: Volume):
        (box,) = ndimage.find_objects((t1.array > 0).astype(np.uint8))
        self.corner = t1.affine[2::-1, 3] + [part.start - 4 for part in box]
        inside, g, w = (np.pad(volume.array[box], 4) for volume in (t1, gray, white))
        inside, g, w = inside > 0, g / 255.0, w / 255.0
        # An average is sure of little; what is likely is made likelier, so that gyri have an edge again.
        shares = np.stack([1.2 * np.maximum(1 - g - w, 0), g, w]) * inside
        shares *= shares * np.sqrt(shares)
        self.tissues = (shares / np.maximum(shares.sum(0), 1e-9)).astype(np.float32)
        self.near = ndimage.maximum_filter(inside[::2, ::2, ::2], 9)
        self.places, self.out = _anatomy(self.tissues[:, ::2, ::2, ::2].astype(np.float64))
        self._seen: dict[float, NDArray] = {0.0: self.tissues}

    def seen(self, blur_mm: float) -> NDArray:
        """Return the tissues as a scanner sees them; kept for the next person."""
        if blur_mm not in self._seen:
            self._seen[blur_mm] = np.stack([ndimage.gaussian_filter(tissue, blur_mm) for tissue in self.tissues])
        return self._seen[blur_mm]


def _anatomy(tissues: NDArray) -> tuple[list[NDArray], NDArray]:
    """Find the ventricles, and from them where lesions lie, and the way out; in voxels of 2 mm."""
    fluid, gray, white = tissues
    depth, cortex = (2 * ndimage.distance_transform_edt(mask) for mask in (tissues.sum(0) > 0, gray < 0.6))
    parts, _ = ndimage.label((fluid > 0.5) & (depth > 24))
    ventricles = parts == 1 + np.argmax(np.bincount(parts.ravel(), minlength=2)[1:])
    away = 2 * ndimage.distance_transform_edt(~ventricles)
    white = white > 0.8
    white[: np.flatnonzero(ventricles.any((1, 2)))[0]] = False  # not in the pons and the cerebellum
    middle = white.shape[2] // 2
    white[:, :, middle - 3 : middle + 4] &= away[:, :, middle - 3 : middle + 4] > 9  # nor in the septum and the fornix
    far = white & (away > 9)
    kinds = white & (away < 5), far & (depth < 20) & (cortex < 3.5), far & (depth > 10) & (cortex > 5)
    out = -np.stack(np.gradient(ndimage.gaussian_filter(ventricles.astype(np.float64), 2.5)))
    return [np.argwhere(kind) for kind in kinds], out / np.sqrt((out**2).sum(0)).max()


def _waves(rng: np.random.Generator, shape: tuple[int, ...], modes: int) -> NDArray:
    """A smooth random field of standard deviation 1: products of cosines, the finer the weaker."""
    fall = 1 / (1 + (np.indices((modes,) * 3) ** 2).sum(0))
    fall[0, 0, 0] = 0
    power = fall**2 * 0.5 ** (np.indices(fall.shape) > 0).sum(0)
    field = rng.normal(size=fall.shape) * fall / np.sqrt(power.sum())
    for n in shape:  # each turn takes the first axis away and appends it on the grid
        cosines = np.cos(np.pi * np.arange(modes)[:, None] * (np.arange(n) + 0.5) / n)
        field = np.einsum("ijk,in->jkn", field, cosines)
    return field


class _Person:
    """An atlas bent to one person: ``at`` says where in its tissues each voxel of the grid comes from."""

    def __init__(self, atlas: Atlas, rng: np.random.Generator, age: float, sex: str):
        # The atlas is larger than people are. Ventricles and sulci widen from the age of 40 on.
        size = rng.normal(0.955 if sex == "M" else 0.915, 0.02) * rng.normal(1, 0.02, 3)
        years = max(0.0, age - 40) / 40
        turned = Rotation.from_rotvec(rng.normal(0, (0.03, 0.03, 0.06))).as_matrix()  # tilts, turns; nods most
        shift = MIDDLE + rng.normal(0, 1.5, 3) - atlas.corner
        z, y, x = (axis - middle for axis, middle in zip(AXES, MIDDLE, strict=True))
        self.atlas, self.at = atlas, np.empty((3, *SHAPE))
        for at, (p, q, r), start in zip(self.at, turned / size[:, None], shift, strict=True):
            at[:] = 2.5 * _waves(rng, SHAPE, 8)
            at += (start + p * z)[:, None, None] + (q * y)[:, None] + r * x
        cells = np.rint(self.at[:, 2::4, 2::4, 2::4] / 2).astype(int)  # one of 4 by 4 by 4 voxels for all
        top = np.array(atlas.near.shape)[:, None, None, None] - 1
        self.near = np.kron(atlas.near[tuple(np.clip(cells, 0, top))], np.ones((4, 4, 4), bool))
        wide = max(-0.5, rng.normal(0.2 + 3.2 * years, 0.6 + 0.8 * years))  # mm that the wall of the ventricles moves
        self.furrows = np.exp(rng.normal(0.9 * years - 0.2, 0.25))  # how much more of a mixed voxel is fluid
        self._widen(wide)

    def _widen(self, wide: float) -> None:
        """Move the brain around the ventricles outwards."""
        (box,) = ndimage.find_objects(((self.atlas.out**2).sum(0) > 0.03**2).astype(np.uint8))
        for k in range(SHAPE[0]):
            at = self.at[:, k]
            around = np.logical_and.reduce([(a > 2 * b.start) & (a < 2 * b.stop) for a, b in zip(at, box, strict=True)])
            if around.any():
                some = at[:, around]
                at[:, around] -= [wide * ndimage.map_coordinates(w, some / 2, order=1) for w in self.atlas.out]

    def tissues(self, blur_mm: float, box: Box = (slice(None),) * 3) -> NDArray:
        """Share of fluid, gray and white matter in each voxel of a box: (3, slice, row, column)."""
        at, near = self.at[(slice(None), *box)], self.near[box]
        shares = np.zeros(at.shape)
        for k in range(at.shape[1]):  # slice by slice: what is needed stays in the processor's cache
            some = at[:, k, near[k]]
            for share, tissue in zip(shares, self.atlas.seen(blur_mm), strict=True):
                share[k, near[k]] = ndimage.map_coordinates(tissue, some, np.float64, order=1)
        inside = shares.sum(0)
        shares[0] *= self.furrows
        shares *= inside / np.maximum(shares.sum(0), 1e-9)
        return shares

    def find(self, rng: np.random.Generator, kind: int) -> tuple[NDArray, NDArray]:
        """Return a place for a lesion of this kind (z, y, x in mm), and the way out of the ventricles there."""
        places = self.atlas.places[kind]
        wanted = places[rng.integers(len(places))]
        voxel = np.array(SHAPE) / 2
        for _ in range(6):  # where in this person is what lies there in the atlas?
            nearest = np.clip(np.rint(voxel).astype(int), 0, np.array(SHAPE) - 1)
            voxel = voxel + (2 * wanted - self.at[(slice(None), *nearest)]) / 1.07 / MM
        return CORNER + MM * voxel, self.atlas.out[(slice(None), *wanted)]


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
    """Grow one person, and image him or her at one or more time points, all on one grid.

    Parameters
    ----------
    atlas : Atlas
        The average brain.
    seed : int
        The person. The same seed on another scanner, at another dose or thickness, is the same person imaged anew.
    scanner : str
        "A" (1.5 T), "B" (3 T: another contrast, sharper, less noise, an uneven coil) or "C" (old: 5 mm slices, noise).
    dose : float
        Averages: 1 is normal; at 0.25 the noise doubles.
    thickness_mm : float, optional
        Slice thickness and spacing; that of the scanner. The same scanner's noise is stronger in thinner slices.
    lesions : int, optional
        How many at the first time point; drawn from 1 to 6.
    age, sex : float, str
        Years (ventricles and sulci widen); "F" or "M" (the size of the head).
    times : int
        How many time points. Lesions grow, shrink and go; who has any may get new ones.

    Returns
    -------
    list of (images, truth, facts)
        For each time point. images: "t1", "t2", "flair", int16 (slice, row, column), axes towards head, posterior and
        left, LPS mm, 0 outside the brain. truth: uint8 on that grid, more than half of a voxel of value i is lesion i.
        facts, of each lesion that is there: number, volume_mm3, diameter_mm (of the sphere of that volume), centre
        (LPS mm), box (voxel bounds of slice, row and column), attributes: place, change (since the time before). A
        lesion keeps its number; one that is missing later has gone.

    Raises
    ------
    ValueError
        If so many lesions do not fit.
    """
    device, (body, ill, fate) = SCANNERS[scanner], (np.random.default_rng([seed, part]) for part in range(3))
    person, some = _Person(atlas, body, age, sex), int(ill.integers(1, 7))
    grown = draw_lesions(ill, evolve(fate, some if lesions is None else lesions, times), person.find, LESION)
    signals = {name: body.normal(1, 0.03, 3) * getattr(device, name) for name in LESION}
    slices = Slices(thickness_mm or device.thickness_mm)
    shares = person.tissues(device.blur_mm)
    brain = np.flatnonzero(slices.cut(shares.sum(0)) > 0.5)
    noise = device.noise * device.thickness_mm / slices.mm / np.sqrt(dose)
    found, before = [], None
    for time in range(times):
        film, images = np.random.default_rng([seed, 3, time]), {}
        fills = fill_all(grown, time, person.tissues)
        truth, facts = measure(fills, slices, before)
        before = {fact["number"]: fact["volume_mm3"] for fact in facts}
        for name, (fluid, gray, white) in signals.items():
            signal = np.einsum("t,tijk->ijk", (fluid, gray, white), shares)
            for _, one, box, fill in fills:
                seen = ndimage.gaussian_filter(fill, device.blur_mm / MM, mode="constant")
                signal[box] += seen * (one.signal[name] * white - signal[box])
            coil = _waves(film, truth.shape, 3).take(brain)
            real = slices.cut(signal).take(brain) * np.exp(device.bias * coil) + film.normal(0, noise, len(brain))
            image = np.zeros(truth.shape, np.int16)
            rician = np.sqrt(real**2 + film.normal(0, noise, len(brain)) ** 2)
            image.put(brain, np.rint(np.clip(rician, 1, 4095)))
            images[name] = truth.with_array(image)
        found.append((images, truth, facts))
    return found
