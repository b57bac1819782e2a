"""A real chest CT to grow patients from: its lungs, its blur, the texture of its noise, and other poses of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse

from .lung_mask import lungs

PIXELS, PIXEL_MM, HEIGHT_MM = 128, 0.75, 100.0  # of a block


def offsets(count: int, step: float) -> NDArray:
    """Middles of ``count`` steps, mm from their common middle."""
    return (np.arange(count) - (count - 1) / 2) * step


# The grid on which nodules are placed, mm from the middle of the block: the same for every scanner and thickness.
COARSE_MM = (2.5, 1.5, 1.5)
COARSE = (offsets(40, 2.5), offsets(64, 1.5), offsets(64, 1.5))


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
class Pose:
    """Where the block is cut, and how this person differs from the base: turned, stretched, bent in the plane."""

    base: Base
    centre: NDArray  # index in the base: slice, row, column
    turn: float
    stretch: NDArray  # slice, row, column
    waves: NDArray  # each: two wave numbers per mm, phase, two amplitudes in mm

    @classmethod
    def draw(cls, base: Base, rng: np.random.Generator) -> Pose:
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
            at.append((where - start).ravel())
        first, last = max(0, int(depth.min()) - 3), min(len(array), int(depth.max()) + 5)
        flat = array[first:last, crop[0], crop[1]].astype(np.float64)
        if order == 3:
            flat = ndimage.spline_filter1d(ndimage.spline_filter1d(flat, axis=1), axis=2)
        bent = _weights(at, flat.shape[1:], order) @ flat.reshape(len(flat), -1).T  # the same for every slice
        return bent.T.reshape(len(flat), *y.shape), np.clip(depth - first, 0, last - first - 1)

    def coarse(self, array: NDArray) -> NDArray:
        """``array`` on the grid on which nodules are placed."""
        stack, depth = self.planes(array, COARSE[0], COARSE[1], 1)
        low = np.minimum(depth.astype(int), len(stack) - 2)
        part = (depth - low)[:, None, None]
        return (1 - part) * stack[low] + part * stack[low + 1]


def _weights(at: list[NDArray], shape: tuple[int, ...], order: int) -> sparse.csr_array:
    """What each pixel of a plane of ``shape`` gives to each point ``at`` (row, column): B-splines of order 1 or 3."""
    taps = []
    for where, length in zip(at, shape, strict=True):
        low = np.floor(where).astype(int)
        f = where - low
        cubic = [(1 - f) ** 3 / 6, 2 / 3 - f**2 + f**3 / 2, 2 / 3 - (1 - f) ** 2 + (1 - f) ** 3 / 2, f**3 / 6]
        parts = cubic if order == 3 else [1 - f, f]
        taps.append([(np.clip(low + n - order // 2, 0, length - 1), part) for n, part in enumerate(parts)])
    pairs = [(row * shape[1] + column, a * b) for row, a in taps[0] for column, b in taps[1]]
    pixels, values = (np.stack(each, -1) for each in zip(*pairs, strict=True))
    starts = np.arange(len(at[0]) + 1) * len(pairs)
    return sparse.csr_array((values.ravel(), pixels.ravel(), starts), (len(at[0]), shape[0] * shape[1]))


def scan_noise(base: Base, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray:
    """Noise in HU with the texture and strength of that of the base, (slice, row, column)."""
    deviation, frequency, amplitude = base.noise
    axis = fft.fftfreq(PIXELS, PIXEL_MM)
    gain = np.interp(np.hypot(axis[:, None], axis), frequency, amplitude, right=0.0)
    gain[0, 0] = 0
    field = fft.irfft2(fft.rfft2(rng.normal(size=shape)) * gain[:, : PIXELS // 2 + 1], shape[1:])
    return deviation / np.sqrt((gain**2).mean()) * field
