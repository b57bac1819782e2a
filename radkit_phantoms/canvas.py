"""A canvas on which bodies are drawn from known shapes, in mm, at any voxel size.

Every shape is a signed distance in mm (negative inside); its edge is as soft as a scanner's. The frame is LPS, and the
arrays are (slice, row, column). Nothing is random but what a seeded generator draws: a drawing is the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

Point: TypeAlias = Sequence[float]
Box: TypeAlias = tuple[slice, slice, slice]
Shape: TypeAlias = tuple[Box, NDArray]  # where on the canvas, and the distances to the surface there
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Ellipsoid:
    """A lesion whose truth is exact: centre (LPS) and half-axes, mm; attenuation, HU."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    attenuation: float = 40.0

    @property
    def volume_mm3(self) -> float:
        """The exact volume."""
        return float(4 / 3 * np.pi * np.prod(self.axes))


def along_ray(radius: NDArray, relative: NDArray, least: float) -> NDArray:
    """Return the distance to a surface, along the ray from its centre: `relative` is 0 there and 1 on the surface."""
    return np.where(relative < 0.05, np.float32(-least), radius * (1 - 1 / np.maximum(relative, np.float32(0.05))))


class Canvas:
    """HU and labels on a regular axial grid, with the tools to draw on it.

    Parameters
    ----------
    shape
        (slices, rows, columns).
    spacing
        Between slices, rows and columns, mm.
    origin
        Centre of the first voxel, LPS mm.
    """

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: Point):
        self.affine = np.eye(4)
        self.affine[:3, :3] = np.diag(spacing)[::-1]
        self.affine[:3, 3] = origin
        self.hu = np.full(shape, -1000, np.float32)
        self.labels = np.zeros(shape, np.uint8)
        self.edge = max(1.0, 1.3 * spacing[2])
        # Coordinates of the slices, rows and columns, shaped to be broadcast against each other.
        self.z, self.y, self.x = (
            (first + step * np.arange(n)).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, (first, step, n) in enumerate(zip(origin[::-1], spacing, shape, strict=True))
        )

    def box(self, low: Point, high: Point) -> Box:
        """Return the part of the grid between two corners (x, y, z)."""
        z, y, x = (
            slice(*np.searchsorted(grid.ravel(), [a, b]))
            for grid, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True)
        )
        return z, y, x

    def places(self, box: Box) -> tuple[NDArray, NDArray, NDArray]:
        """Return x, y and z of a box, mm."""
        return self.x[:, :, box[2]], self.y[:, box[1]], self.z[box[0]]

    def ellipsoid(self, centre: Point, axes: Point) -> Shape:
        """Return an ellipsoid; the distance is measured along the ray from its centre."""
        middle, reach = np.asarray(centre, float), np.asarray(axes, float)
        box = self.box(middle - reach - 3, middle + reach + 3)
        x, y, z = (grid - np.float32(c) for grid, c in zip(self.places(box), middle, strict=True))
        a, b, c = (np.float32(v) for v in reach)
        relative = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        return box, along_ray(np.sqrt(x * x + y * y + z * z), relative, min(axes))

    def tube(self, points: Sequence[Point], radii: float | Sequence[float], *, squash: Point = (1, 1, 1)) -> Shape:
        """Return a bent tube through points; `squash` below 1 makes it wider along that axis."""
        line = np.asarray(points, float)
        widths = np.broadcast_to(np.asarray(radii, float), len(line))
        reach = (widths.max() + 3) / np.asarray(squash)
        box = self.box(line.min(axis=0) - reach, line.max(axis=0) + reach)
        distance = np.full([max(0, s.stop - s.start) for s in box], 99, np.float32)
        for start, end, wide, narrow in zip(line, line[1:], widths, widths[1:], strict=False):
            reach = (max(wide, narrow) + 3) / np.asarray(squash)
            part = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
            local = distance[tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))]
            np.minimum(local, self._segment(part, start, end, wide, narrow, squash), out=local)
        return box, distance

    def _segment(self, box: Box, start: NDArray, end: NDArray, wide: float, narrow: float, squash: Point) -> NDArray:
        """Distance to a straight piece of tube whose radius changes evenly."""
        factors = [np.float32(f) for f in squash]
        place = [(grid - np.float32(s)) * f for grid, s, f in zip(self.places(box), start, factors, strict=True)]
        along = [np.float32(v) * f for v, f in zip(end - start, factors, strict=True)]
        length = max(sum(float(v) ** 2 for v in along), 1e-6)
        share = np.clip(sum(p * v for p, v in zip(place, along, strict=True)) / np.float32(length), 0, 1)
        x, y, z = (p - share * v for p, v in zip(place, along, strict=True))
        return np.sqrt(x * x + y * y + z * z) - (np.float32(wide) + share * np.float32(narrow - wide))

    def paint(self, shape: Shape, hu: float | NDArray, label: int | None = None, *, only: Sequence[int] = ()) -> None:
        """Fill a shape with a value, and its inside with a label; `only` keeps to where certain labels are."""
        box, distance = shape
        share = np.clip(0.5 - distance / np.float32(self.edge), 0, 1)
        if only:
            share *= np.isin(self.labels[box], only)
        self.hu[box] += share * (np.asarray(hu, np.float32) - self.hu[box])
        if label is not None:
            self.labels[box][share > 0.5] = label

    def lesion(self, lesion: Ellipsoid) -> NDArray:
        """Draw a lesion as a scanner averages it, each voxel by the part that it fills; return the mask (half or more).

        Measured at 5 × 5 × 9 points a voxel (slice thickness is the longest side).
        """
        middle, axes = np.asarray(lesion.centre), np.asarray(lesion.axes)
        reach = axes + np.abs(np.diag(self.affine[:3, 2::-1]))
        box = self.box(middle - reach, middle + reach)
        step = self.affine[0, 2], self.affine[1, 1], self.affine[2, 0]
        fine = [
            (((grid.reshape(-1, 1) + s * ((np.arange(n) + 0.5) / n - 0.5)).ravel() - c) / a) ** 2
            for grid, s, n, c, a in zip(self.places(box), step, (5, 5, 9), middle, axes, strict=True)
        ]
        x, y, z = fine
        inside = (z[:, None, None] + y[:, None] + x) <= 1
        filled = inside.reshape(len(z) // 9, 9, len(y) // 5, 5, len(x) // 5, 5).mean(axis=(1, 3, 5), dtype=np.float32)
        self.hu[box] += filled * (np.float32(lesion.attenuation) - self.hu[box])
        mask = np.zeros(self.hu.shape, np.uint8)
        mask[box] = filled >= 0.5
        return mask

    def volume(self, array: NDArray) -> Volume:
        """Return an array of this grid as a volume."""
        return Volume(array, self.affine, coordinate_system="PATIENT")
