"""Where a result lies against its images, in a radiologist's words: mirrored, upside down, shifted toward the feet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset

TOLERANCE_MM = 1e-3
TOWARD = (("right", "left"), ("front", "back"), ("feet", "head"))  # down and up each axis of LPS
FLIPPED = ("mirrored left-right", "mirrored front-back", "upside down")


def misplaced(
    images: list[Dataset],
    uid: str | None,
    size: Sequence[int],
    spacing: Sequence[float],
    cosines: Any,
    corners: Any,
    named: Sequence[set[str]] = (),
) -> Iterator[str]:
    """Say where a result and its images differ by more than 0.001 mm (nothing: it fits).

    Of the result: its frame of reference, rows and columns, mm of a pixel, each slice's corner in LPS mm, and the UIDs
    of the images that each slice says it was made from.
    """
    first = images[0]
    if uid not in (None, first.FrameOfReferenceUID):
        yield "it lies in another frame of reference"
    if tuple(size) != (first.Rows, first.Columns):
        yield f"its slices are {tuple(size)} voxels, the images {(first.Rows, first.Columns)}"
    if not np.allclose(spacing, first.PixelSpacing, atol=TOLERANCE_MM, rtol=0):
        yield f"its pixels measure {list(spacing)} mm, those of the images {list(first.PixelSpacing)} mm"
    if not np.allclose(cosines, first.ImageOrientationPatient, atol=1e-4, rtol=0):
        yield f"it is {_turned(first, cosines)}, its rows and columns run along {np.round(cosines, 3).tolist()}"
    else:
        yield from _moved(images, np.array(corners, float), named)


def _axes(cosines: Any) -> np.ndarray:
    """Return the directions of row, column and normal, as the columns of a matrix."""
    along, down = np.array(cosines, float).reshape(2, 3)
    return np.stack([along, down, np.cross(along, down)], axis=1)


def _flipped(direction: np.ndarray) -> str:
    """Say what a flip along a direction is to a patient."""
    return FLIPPED[int(np.abs(direction).argmax())]


def _turned(image: Dataset, cosines: Any) -> str:
    """Say how rows and columns were turned."""
    axes = _axes(image.ImageOrientationPatient)
    turn = axes.T @ _axes(cosines)
    for flips, word in (
        ((-1, 1), _flipped(axes[:, 0])),
        ((1, -1), _flipped(axes[:, 1])),
        ((-1, -1), "turned by half a turn in its slices"),
    ):
        if np.allclose(turn[:2, :2], np.diag(flips), atol=1e-3):
            return word
    if np.allclose(turn[:2, :2], [[0, 1], [1, 0]], atol=1e-3):
        return "mirrored over a diagonal: rows and columns are exchanged"
    return f"turned by {np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))):.1f}°"


def _moved(images: list[Dataset], corners: np.ndarray, named: Sequence[set[str]]) -> Iterator[str]:
    """Say how slices lie against the images that they name, or, where they name none, against the nearest."""
    there = np.array([image.ImagePositionPatient for image in images], float)
    away = np.linalg.norm(corners[:, None] - there, axis=-1)
    nearest = away.min(axis=1)
    for row, uids in zip(away, named, strict=False):
        row[[uids.isdisjoint({image.SOPInstanceUID}) for image in images] if uids else []] = np.inf
    meant = there[np.where(np.isinf(away).all(axis=1), 0, away.argmin(axis=1))]
    off, normal = corners - meant, _axes(images[0].ImageOrientationPatient)[:, 2]
    far = np.linalg.norm(off, axis=1)
    across = off - np.outer(off @ normal, normal)
    if far.max() <= TOLERANCE_MM:
        return
    if np.ptp(off, axis=0).max() <= TOLERANCE_MM:
        other = ": its frames name other images than those they lie on" if nearest.max() <= TOLERANCE_MM else ""
        yield f"it is shifted by {_toward(off.mean(axis=0))}{other}"
    elif np.ptp((corners + meant) @ normal) <= TOLERANCE_MM and np.abs(across).max() <= TOLERANCE_MM:
        yield f"it is {_flipped(normal)}: its slices run the other way, its frames name the images at the other end"
    elif nearest.max() <= TOLERANCE_MM:
        yield f"{int((far > TOLERANCE_MM).sum())} of its {len(far)} slices do not name the image they lie on"
    else:
        count = int((nearest > TOLERANCE_MM).sum())
        yield f"{count} of its {len(far)} slices lie up to {nearest.max():.3f} mm away from every image"


def _toward(shift: np.ndarray) -> str:
    """Say a shift in LPS mm in words: "5.0 mm toward the feet"."""
    parts = [(abs(mm), TOWARD[axis][int(mm > 0)]) for axis, mm in enumerate(shift) if abs(mm) > TOLERANCE_MM]
    return " and ".join(f"{mm:.{1 if mm >= 0.1 else 3}f} mm toward the {side}" for mm, side in sorted(parts)[::-1])
