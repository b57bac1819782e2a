"""Measure one lesion of a mask: volume, axial long and short axis, mean diameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ResultError
from .guideline import Recommendation, fleischner

if TYPE_CHECKING:
    from highdicom import Volume

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Measurement:
    """The size of one lesion. Lengths in mm (0.01), volume in mm³ (0.1), points in LPS mm.

    Attributes
    ----------
    label : int
        The value in the mask.
    volume_mm3 : float
        Number of voxels times the volume of one.
    long_axis_mm, short_axis_mm : float
        The longest diameter in any axial slice, and the longest one at right angles to it in the same slice.
    long_axis, short_axis : tuple of two points
        Their end points, (x, y, z) in LPS mm.
    slice_index : int
        The slice (first axis of the mask) in which they were measured.
    centroid : tuple of float
        Centre of mass of the voxels, (x, y, z) in LPS mm.
    """

    label: int
    volume_mm3: float
    long_axis_mm: float
    short_axis_mm: float
    long_axis: tuple[Point, Point]
    short_axis: tuple[Point, Point]
    slice_index: int
    centroid: Point

    @property
    def mean_diameter_mm(self) -> float:
        """Average of long and short axis in the same slice."""
        return round((self.long_axis_mm + self.short_axis_mm) / 2, 2)

    def fleischner(
        self, *, risk: Literal["low", "high"], kind: Literal["solid"] = "solid", age: float | None = None
    ) -> Recommendation:
        """Look up what the Fleischner Society would do with a single solid nodule of this size, found by chance.

        The mean diameter is rounded to the nearest whole mm, half up, as the guideline asks. Where the volume points to
        a higher class, the higher one counts, and the text says so.

        Parameters
        ----------
        risk : "low" or "high"
            As the clinician judges it: smoking, age, family history, emphysema or fibrosis, spiculation, an upper lobe.
            There is no default: images tell it only in part.
        kind : "solid"
            Sub-solid nodules have a table of their own, which is not here.
        age : float, optional
            Years; under 35 the guideline does not apply: `ResultError`, as for whatever else it does not cover.

        Notes
        -----
        For teaching, not a device: a radiologist decides. MacMahon H et al., Radiology 2017;284:228-243, table 1.
        """
        return fleischner(self.mean_diameter_mm, self.volume_mm3, risk, kind, age)

    def __str__(self) -> str:
        return (
            f"volume {self.volume_mm3 / 1000:.2f} ml, {self.long_axis_mm:.1f} × {self.short_axis_mm:.1f} mm "
            f"in slice {self.slice_index} (mean diameter {self.mean_diameter_mm:.0f} mm)"
        )


def measure(mask: Volume, *, label: int = 1) -> Measurement:
    """Measure the lesion that carries ``label``.

    All voxels with the label count as one lesion. In each axial slice the outline runs half-way between the voxels
    inside and those outside (the 50 % contour); the long axis is the greatest distance between two points of its
    convex hull, the short axis the longest chord of the hull at right angles to it. On drawn spheres of 3 to 25 mm a
    diameter so measured is never more than one pixel off, and a lesion of one voxel has a size too.

    Parameters
    ----------
    mask : highdicom.Volume
        Integers, (slice, row, column), axial slices.
    label : int
        The value to measure.

    Raises
    ------
    ResultError
        If no voxel has the label, or the slices are not axial.

    Notes
    -----
    Long and perpendicular short axis as in RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009;45:228-247); their mean as
    the Fleischner Society measures nodules (Bankier et al., Radiology 2017;285:584-600).
    """
    inside = np.asarray(mask.array) == label
    indices = np.column_stack(np.unravel_index(np.flatnonzero(inside), inside.shape))
    if not len(indices):
        raise ResultError(f"Label {label} has no voxel in this mask; it holds the labels {_labels(mask)}.")
    if abs(mask.affine[:3, 0]).argmax() != 2:
        raise ResultError(
            "The slices of this mask are not axial: diameters are read in axial slices. Reformat it first."
        )
    slice_index, long_axis, short_axis = max(
        (_axes(mask, inside[k], int(k)) for k in np.unique(indices[:, 0])),
        key=lambda axes: (round(_length(axes[1]), 6), _length(axes[2])),
    )
    return Measurement(
        label=label,
        volume_mm3=round(len(indices) * float(mask.voxel_volume), 1),
        long_axis_mm=round(_length(long_axis), 2),
        short_axis_mm=round(_length(short_axis), 2),
        long_axis=_points(long_axis),
        short_axis=_points(short_axis),
        slice_index=slice_index,
        centroid=_points(mask.map_indices_to_reference(indices.mean(axis=0, keepdims=True)))[0],
    )


def _axes(mask: Volume, inside: np.ndarray, slice_index: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Long and short axis of one slice, each as two points (2, 3) in LPS mm."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist, squareform

    _, row_mm, column_mm = mask.spacing
    centres = np.argwhere(inside)
    half_steps = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    outline = (centres[:, None] + half_steps).reshape(-1, 2) * (row_mm, column_mm)
    hull = outline[ConvexHull(outline).vertices]
    distances = squareform(pdist(hull))
    first, second = np.unravel_index(distances.argmax(), distances.shape)  # exact: a hull has few vertices
    along = (hull[second] - hull[first]) / distances[first, second]
    chord = _longest_chord(hull, along)
    index = np.column_stack([np.full(4, slice_index), np.vstack([hull[[first, second]], chord]) / (row_mm, column_mm)])
    points = mask.map_indices_to_reference(index)
    return slice_index, points[:2], points[2:]


def _longest_chord(hull: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The longest chord (2, 2) of a convex polygon at right angles to ``along``: it passes through a vertex."""
    across = np.array([-along[1], along[0]])
    u, v = hull @ along, hull @ across
    start, end = int(u.argmin()), int(u.argmax())
    one, other = _chain(start, end, len(hull)), _chain(end, start, len(hull))[::-1]
    a, b = np.interp(u, u[one], v[one]), np.interp(u, u[other], v[other])
    best = abs(a - b).argmax()
    return np.array([u[best] * along + a[best] * across, u[best] * along + b[best] * across])


def _chain(start: int, end: int, count: int) -> np.ndarray:
    """Indices of the vertices met on the way round from ``start`` to ``end``."""
    return (start + np.arange((end - start) % count + 1)) % count


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[1] - points[0]))


def _points(points: np.ndarray) -> tuple:
    return tuple(tuple(round(float(x), 3) for x in point) for point in points)


def _labels(mask: Volume) -> str:
    found = [int(value) for value in np.unique(mask.array) if value]
    return ", ".join(map(str, found[:10])) or "no labels at all"
