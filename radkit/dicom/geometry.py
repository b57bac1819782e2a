"""Where the slices of a stack lie: sorted and checked, and resampled where that was asked for.

The checks are about what a volume is: parallel slices of one size, one at each place, evenly spaced, and stacked along
their normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from radkit.errors import DicomError

from .frames import Frame

TOLERANCE = 0.01  # of the slice spacing, for each slice: scanners round positions to a few digits
SIDEWAYS = 0.1  # of a pixel, from the first slice to any other
SIZES = {"ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1, "ImagePositionPatient": 3}


class Stack:
    """The places of the slices of one series, in ascending order along their normal, in LPS mm."""

    def __init__(self, frames: Sequence[Frame]):
        columns = {keyword: _column(frames, keyword, size) for keyword, size in SIZES.items()}
        for keyword, column in list(columns.items())[:-1]:
            if np.ptp(column, axis=0).max() > 1e-4:
                kinds = np.unique(column.round(4), axis=0).tolist()
                scouts = sum("LOCALIZER" in (frame.values.get("ImageType") or ()) for frame in frames)
                also = f"; {scouts} of {len(frames)} images are localizers" if scouts else ""
                raise DicomError(f"Expected one {keyword} in the series, found {len(kinds)}: {kinds[:4]}{also}.")
        cosines, self.spacing, rows, size = (column[0] for column in list(columns.values())[:-1])
        self.along, self.down = cosines[:3], cosines[3:]
        self.normal = np.cross(self.along, self.down)
        off = max(abs(np.linalg.norm(self.along) - 1), abs(np.linalg.norm(self.down) - 1), abs(self.along @ self.down))
        if off > 1e-3 or min(*self.spacing, *rows, *size) <= 0:
            raise DicomError(f"{frames[0].name}: expected perpendicular unit vectors in ImageOrientationPatient, and "
                             f"Rows, Columns and PixelSpacing above 0, found {cosines.tolist()}, {int(rows[0])}, "
                             f"{int(size[0])} and {self.spacing.tolist()}.")  # fmt: skip
        positions = columns["ImagePositionPatient"]
        order = np.argsort(positions @ self.normal, kind="stable")
        self.frames, self.positions = [frames[i] for i in order], positions[order]
        self.heights = self.positions @ self.normal
        self.gaps = np.diff(self.heights)
        self.step = float(np.median(self.gaps)) if len(frames) > 1 else _thickness(frames[0])

    def check(self, resample: str | None) -> None:
        """Refuse what is no volume, but for what is going to be resampled."""
        heights, gaps, step = self.heights, self.gaps, self.step
        double = np.flatnonzero(gaps < TOLERANCE * max(step, 1e-3))
        if double.size:
            raise DicomError(
                f"Expected one slice at each position, found {double.size + 1} at {heights[double[0]]:.2f} mm: more "
                f"than one pass, phase or echo? ({self.frames[double[0]].name})"
            )
        odd = np.flatnonzero(np.abs(gaps - step) > TOLERANCE * step)
        if odd.size and resample != "gaps":
            where = ", ".join(f"{gaps[i]:.2f} mm between {heights[i]:.2f} and {heights[i + 1]:.2f} mm" for i in odd[:3])
            raise DicomError(f"Expected slices {step:.2f} mm apart, found {odd.size} other gap(s): {where}. "
                             'With resample="gaps" they are interpolated.')  # fmt: skip
        shift = np.linalg.norm(self.sideways(), axis=1)
        if shift.max() > SIDEWAYS and resample != "tilt":
            last = self.positions[-1] - self.positions[0]
            tilt = np.degrees(np.arccos(min(1.0, abs(last @ self.normal) / np.linalg.norm(last))))
            raise DicomError(
                f"Expected slices stacked along their normal, found them up to {shift.max():.1f} pixels sideways "
                f'(gantry tilt of {tilt:.1f} degrees). With resample="tilt" they are straightened.'
            )

    def sideways(self) -> np.ndarray:
        """Return how many (rows, columns) each slice lies off the normal through the first."""
        return (self.positions - self.positions[0]) @ np.stack([self.down, self.along], axis=1) / self.spacing

    def affine(self) -> np.ndarray:
        """Return the matrix from (slice, row, column) to LPS mm: PS3.3 equation C.7.6.2.1-1, slices along the normal.

        highdicom's own ``from_attributes`` counts the slices down the normal; radkit counts them up.
        """
        step = np.ptp(self.heights) / len(self.gaps) if len(self.gaps) else self.step
        affine = np.eye(4)
        affine[:3, :3] = np.stack([self.normal * step, self.down * self.spacing[0], self.along * self.spacing[1]], 1)
        affine[:3, 3] = self.positions[0]
        return affine

    def straightened(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move each slice back along its plane, linearly interpolated, on a plane large enough for all of them."""
        shifts = self.sideways() - self.sideways().min(axis=0)
        size = array.shape[1:] + np.ceil(shifts.max(axis=0) - 1e-6).astype(int)
        if (size > 4 * np.array(array.shape[1:])).any():
            raise DicomError(f"Slices up to {shifts.max():.0f} pixels sideways are too far off to be straightened.")
        straight = np.full((len(array), *size), array.min(), array.dtype)
        for target, image, shift in zip(straight, array, shifts, strict=True):
            target[: image.shape[0], : image.shape[1]] = image
            target[...] = _like(ndimage.shift(target.astype(np.float32), shift, order=1, cval=target.min()), array)
        affine = self.affine()
        affine[:3, 3] += affine[:3, 1:3] @ self.sideways().min(axis=0)
        return straight, affine

    def evened(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate linearly between neighbouring slices, at even steps of the most usual gap."""
        count = int((self.heights[-1] - self.heights[0]) / self.step + 1.01)
        if count > 4 * len(array):
            raise DicomError(f"{len(array)} slices are too few for {count} at steps of {self.step:.2f} mm.")
        even = np.empty((count, *array.shape[1:]), array.dtype)
        places = np.interp(self.heights[0] + self.step * np.arange(count), self.heights, np.arange(len(array)))
        for target, place in zip(even, places, strict=True):
            below, part = min(int(place), len(array) - 2), place - min(int(place), len(array) - 2)
            target[...] = _like(array[below] * (1 - part) + array[below + 1] * part, array)
        affine = self.affine()
        affine[:3, 0] = self.normal * self.step
        return even, affine


def _column(frames: Sequence[Frame], keyword: str, size: int) -> np.ndarray:
    """Return an attribute of every frame, (frames, size); all must have it, whole and finite."""
    for frame in frames:
        value = frame.values.get(keyword)
        if (len(value) if isinstance(value, tuple) else value is not None) != size:
            raise DicomError(f"{frame.name}: expected {size} value(s) in {keyword}, found {value}.")
    column = np.array([frame.values[keyword] for frame in frames], float).reshape(len(frames), size)
    if not np.isfinite(column).all():
        raise DicomError(f"{frames[0].name}, or another: {keyword} is not a finite number.")
    return column


def _thickness(frame: Frame) -> float:
    """Return what stands for the spacing where there is only one slice."""
    return abs(float(frame.values.get("SpacingBetweenSlices") or frame.values.get("SliceThickness") or 1.0))


def _like(values: np.ndarray, array: np.ndarray) -> np.ndarray:
    return values if array.dtype.kind == "f" else np.rint(values)
