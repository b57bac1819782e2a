"""Where the slices of a stack lie: sorted, checked, and resampled where that was asked for.

The checks are about what a volume is: parallel slices of one size, one at each place, evenly spaced, and stacked along
their normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from scipy import ndimage

from radkit.errors import DicomError

from .frames import Frame

TOLERANCE = 0.02  # of the slice spacing, for each gap: positions come rounded, some to a tenth of a millimetre
SIDEWAYS = 0.1  # of a pixel, from the first slice to any other
SAME = {"ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1}


class Stack:
    """The places of the slices of one series, in ascending order along their normal, in LPS mm."""

    def __init__(self, frames: Sequence[Frame]):
        cosines, self.spacing, rows, columns = (_same(frames, keyword, size) for keyword, size in SAME.items())
        along, down = cosines.reshape(2, 3)
        if max(abs(along @ along - 1), abs(down @ down - 1), abs(along @ down)) > 2e-3:
            raise DicomError(f"{frames[0].name}: ImageOrientationPatient {cosines.tolist()} are no perpendicular "
                             "vectors of length 1.")  # fmt: skip
        if min(*self.spacing, *rows, *columns) < 1e-6:
            raise DicomError(f"{frames[0].name}: expected Rows, Columns and PixelSpacing above 0, found "
                             f"{rows[0]:g}, {columns[0]:g} and {self.spacing.tolist()}.")  # fmt: skip
        self.along, self.normal = (v / np.linalg.norm(v) for v in (along, np.cross(along, down)))  # to all digits
        self.down = np.cross(self.normal, self.along)
        positions = _column(frames, "ImagePositionPatient", 3)
        order = np.argsort(positions @ self.normal, kind="stable")
        self.frames, self.positions = [frames[i] for i in order], positions[order]
        self.heights = self.positions @ self.normal
        self.step = float(np.median(np.diff(self.heights))) if len(frames) > 1 else _thickness(frames)
        # How many (rows, columns) each slice lies off the normal through the first.
        self.sideways = (self.positions - self.positions[0]) @ np.stack([self.down, self.along], 1) / self.spacing

    def check(self, resample: str | None) -> None:
        """Refuse what is no volume, but for what is going to be resampled."""
        heights, gaps, step = self.heights, np.diff(self.heights), self.step
        if (double := np.flatnonzero(gaps < TOLERANCE * max(step, 1e-3))).size:
            count = int((np.abs(heights - heights[double[0]]) < 1e-3).sum())
            raise DicomError(f"Expected one slice at each position, found {max(count, 2)} at "
                             f"{heights[double[0]]:.2f} mm: copies, phases, echoes? "
                             f"({self.frames[double[0]].name})")  # fmt: skip
        if (odd := np.flatnonzero(np.abs(gaps - step) > TOLERANCE * step)).size and resample != "gaps":
            where = ", ".join(f"{gaps[i]:.2f} mm between {heights[i]:.2f} and {heights[i + 1]:.2f} mm" for i in odd[:3])
            raise DicomError(f"Expected slices {step:.2f} mm apart, found {odd.size} other gap(s): {where}. "
                             'With resample="gaps" they are interpolated.')  # fmt: skip
        if (shift := np.linalg.norm(self.sideways, axis=1)).max() > SIDEWAYS and resample != "tilt":
            sideways = np.linalg.norm(self.sideways[-1] * self.spacing)
            tilt = np.degrees(np.arctan2(sideways, heights[-1] - heights[0]))
            raise DicomError(f"Expected slices stacked along their normal, found them up to {shift.max():.1f} pixels "
                             f'sideways (gantry tilt of {tilt:.1f} degrees). With resample="tilt" they are '
                             "straightened.")  # fmt: skip

    def affine(self) -> np.ndarray:
        """Return the matrix from (slice, row, column) to LPS mm: PS3.3 equation C.7.6.2.1-1, slices along the normal.

        highdicom's own ``from_attributes`` counts the slices down the normal; radkit counts them up.
        """
        step = np.ptp(self.heights) / (len(self.heights) - 1) if len(self.heights) > 1 else self.step
        affine = np.eye(4)
        affine[:3, :3] = np.stack([self.normal * step, self.down * self.spacing[0], self.along * self.spacing[1]], 1)
        affine[:3, 3] = self.positions[0]
        return affine

    def straightened(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move each slice back along its plane, linearly interpolated, on a plane large enough for all of them."""
        corner = self.sideways.min(axis=0)
        size = array.shape[1:] + np.ceil(np.ptp(self.sideways, axis=0) - 1e-6).astype(int)
        if (size > 4 * np.array(array.shape[1:])).any():
            raise DicomError(f"Slices on {size.tolist()} pixels are too far off their normal to be straightened.")
        straight = np.full((len(array), *size), array.min(), array.dtype)
        for target, image, shift in zip(straight, array, (self.sideways - corner).round(6), strict=True):
            target[: image.shape[0], : image.shape[1]] = image
            moved = ndimage.shift(target.astype(np.float32), shift, order=1, cval=target.min())
            target[...] = moved if array.dtype.kind == "f" else np.rint(moved)
        affine = self.affine()
        affine[:3, 3] += affine[:3, 1:3] @ corner
        return straight, affine

    def evened(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate linearly between neighbouring slices, at even steps of the most usual gap."""
        count = int(np.ptp(self.heights) / self.step + 1.01)
        if count > 4 * len(array):
            raise DicomError(f"{len(array)} slices are too few for {count} at steps of {self.step:.2f} mm.")
        even = np.empty((count, *array.shape[1:]), array.dtype)
        places = np.interp(self.heights[0] + self.step * np.arange(count), self.heights, np.arange(len(array)))
        for target, place in zip(even, places, strict=True):
            below = min(int(place), len(array) - 2)
            mixed = array[below] * (1 - (place - below)) + array[below + 1] * (place - below)
            target[...] = mixed if array.dtype.kind == "f" else np.rint(mixed)
        affine = self.affine()
        affine[:3, 0] = self.normal * self.step
        return even, affine


def _column(frames: Sequence[Frame], keyword: str, size: int) -> np.ndarray:
    """Return an attribute of every frame, (frames, size); all must have it, whole and finite."""
    with suppress(TypeError, ValueError):
        column = np.array([frame.values.get(keyword) for frame in frames], float).reshape(len(frames), size)
        if (np.abs(column) < 1e6).all():  # no body is as large, and beyond numbers lose their digits
            return column
    if len(frames) > 1:  # which one is it?
        return np.concatenate([_column([frame], keyword, size) for frame in frames])
    found = str(frames[0].values.get(keyword))[:80]
    raise DicomError(f"{frames[0].name}: expected {size} number(s) in {keyword}, found {found}.")


def _thickness(frames: Sequence[Frame]) -> float:
    """Return what stands for the distance between slices where there is only one."""
    said = (key for key in ("SpacingBetweenSlices", "SliceThickness") if frames[0].values.get(key))
    return next((abs(float(_column(frames, key, 1)[0, 0])) for key in said), 1.0)


def _same(frames: Sequence[Frame], keyword: str, size: int) -> np.ndarray:
    """Return an attribute that must be the same in every frame."""
    column = _column(frames, keyword, size)
    if np.ptp(column, axis=0).max() > 1e-4:
        kinds = np.unique(column.round(4), axis=0).tolist()
        scouts = sum("LOCALIZER" in (frame.values.get("ImageType") or ()) for frame in frames)
        also = f"; {scouts} of {len(frames)} images are localizers" if scouts else ""
        raise DicomError(f"Expected one {keyword} in the series, found {len(kinds)}: {kinds[:4]}{also}.")
    return column[0]
