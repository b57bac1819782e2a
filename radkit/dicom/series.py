"""One series, read into a volume: sorted by position, checked, in modality units.

The frame. Array axes are slice, row, column. Slices ascend along the normal of the image plane, the cross product of
the row and the column direction of ``ImageOrientationPatient``: from feet to head for an axial series. The affine takes
an index to the centre of that voxel in the patient coordinate system of PS3.3 C.7.6.2.1.1, in mm: x grows to the
patient's left, y to the back, z to the head (LPS). File names and ``InstanceNumber`` play no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from highdicom import Volume
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from radkit.errors import DicomError

Source: TypeAlias = "str | Path | Sequence[str | Path] | Sequence[Dataset]"

# A slice may be off its place by this part of the slice spacing: scanners round positions to a few digits.
TOLERANCE = 0.01


def read_headers(source: Source) -> list[Dataset]:
    """Read the headers of DICOM files, without their pixels.

    Parameters
    ----------
    source
        A folder (searched to its depth; what is no DICOM in it is left aside), a file, a list of files, or a list of
        datasets, which come back as they are.

    Returns
    -------
    list of Dataset
        In the order of the paths; each knows its ``filename``.

    Raises
    ------
    DicomError
        If there is no DICOM file, or a file that was named is none.
    """
    headers = list(_headers(source))
    if not headers:
        raise DicomError(f"Expected DICOM files in {source}, found none. Is the path right, and the data fetched?")
    return headers


def read_series(source: Source, *, series_uid: str | None = None) -> Volume:
    """Read one series of parallel, evenly spaced slices into a volume.

    Objects without a position and an orientation of their own (a report, a segmentation) are left aside.

    Parameters
    ----------
    source
        A folder, a list of files, or a list of datasets with their pixels.
    series_uid
        The ``SeriesInstanceUID`` to read, where there is more than one.

    Returns
    -------
    Volume
        (slice, row, column), modality units (HU for CT: ``RescaleSlope`` and ``RescaleIntercept`` are applied, PS3.3
        C.11.1), int16 where that is exact and float32 elsewhere, geometry in LPS mm; slices ascend along the normal.

    Raises
    ------
    DicomError
        If there are several series, two orientations, sizes or pixel spacings, a gap, a double, or a tilted gantry; the
        message holds the numbers.
    """
    slices = _one_series([h for h in read_headers(source) if "ImagePositionPatient" in h], series_uid)
    slices, spacing = _sorted(slices)
    return Volume(
        _pixels(slices),
        _affine(slices[0], spacing),
        coordinate_system="PATIENT",
        frame_of_reference_uid=slices[0].get("FrameOfReferenceUID") or None,
    )


def _headers(source: Source) -> Iterator[Dataset]:
    """Yield headers; only a folder is forgiven a file that is no DICOM."""
    folder = isinstance(source, (str, Path)) and Path(source).is_dir()
    for item in _items(source):
        if isinstance(item, Dataset):
            yield item
            continue
        try:
            yield dcmread(item, stop_before_pixels=True)
        except (InvalidDicomError, OSError) as error:
            if not folder:
                raise DicomError(f"{item} cannot be read as DICOM: {error}") from error


def _items(source: Source) -> Iterable[str | Path | Dataset]:
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _one_series(slices: list[Dataset], series_uid: str | None) -> list[Dataset]:
    """Return the slices of the one series that is meant."""
    found: dict[str, list[Dataset]] = {}
    for header in slices:
        found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    if series_uid is not None:
        found = {uid: members for uid, members in found.items() if uid == series_uid}
    if not found:
        raise DicomError(
            "Expected slices with ImagePositionPatient, found none" + (" of that series" if series_uid else "")
        )
    if len(found) > 1:
        listed = ", ".join(f"{uid} ({len(m)} × {m[0].get('Modality', '?')})" for uid, m in found.items())
        raise DicomError(f"Expected one series, found {len(found)}: {listed}. Name one with series_uid=.")
    return next(iter(found.values()))


def _sorted(slices: list[Dataset]) -> tuple[list[Dataset], float]:
    """Sort along the normal and check the geometry; return the slices and their spacing in mm."""
    for keyword in ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        values = np.array([np.ravel(header[keyword].value) for header in slices], float)
        if np.ptp(values, axis=0).max() > 1e-4:
            kinds = np.unique(values.round(4), axis=0).tolist()
            raise DicomError(f"Expected one {keyword} in the series, found {len(kinds)}: {kinds[:4]}")
    cosines = np.array(slices[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = np.array([header.ImagePositionPatient for header in slices], float)
    order = np.argsort(positions @ normal, kind="stable")
    spacing = _spacing(positions[order], normal) if len(slices) > 1 else _thickness(slices[0])
    return [slices[i] for i in order], spacing


def _spacing(positions: np.ndarray, normal: np.ndarray) -> float:
    """Return the one distance between neighbours, given positions sorted along the normal."""
    heights = positions @ normal
    gaps = np.diff(heights)
    spacing = float(np.median(gaps))
    double = np.flatnonzero(gaps < TOLERANCE * max(spacing, 1e-3))
    if double.size:
        raise DicomError(f"Expected one slice at each position, found {double.size + 1} at {heights[double[0]]:.2f} mm")
    odd = np.flatnonzero(np.abs(gaps - spacing) > TOLERANCE * spacing)
    if odd.size:
        places = ", ".join(f"{gaps[i]:.2f} mm between {heights[i]:.2f} and {heights[i + 1]:.2f} mm" for i in odd[:3])
        raise DicomError(f"Expected slices {spacing:.2f} mm apart, found {odd.size} other gap(s): {places}")
    sideways = np.diff(positions, axis=0) - gaps[:, None] * normal
    shift = float(np.linalg.norm(sideways.mean(axis=0)))
    if shift > TOLERANCE * spacing:
        tilt = np.degrees(np.arctan2(shift, spacing))
        raise DicomError(f"Expected slices stacked along their normal, found {shift:.2f} mm sideways a slice "
                         f"(gantry tilt of {tilt:.1f} degrees): resample before use")  # fmt: skip
    return float((heights[-1] - heights[0]) / (len(heights) - 1))


def _thickness(header: Dataset) -> float:
    """Return what stands for the spacing where there is only one slice."""
    return float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)


def _affine(first: Dataset, spacing: float) -> np.ndarray:
    """Return the matrix from (slice, row, column) to LPS mm: PS3.3 equation C.7.6.2.1-1, with slices along the normal.

    highdicom's own ``from_attributes`` counts the slices down the normal; radkit counts them up.
    """
    cosines = np.array(first.ImageOrientationPatient, float)
    along_row, down_column = cosines[:3], cosines[3:]
    affine = np.eye(4)
    affine[:3, 0] = np.cross(along_row, down_column) * spacing
    affine[:3, 1] = down_column * float(first.PixelSpacing[0])
    affine[:3, 2] = along_row * float(first.PixelSpacing[1])
    affine[:3, 3] = first.ImagePositionPatient
    return affine


def _pixels(slices: list[Dataset]) -> np.ndarray:
    """Decode every slice into one array, in modality units."""
    volume = np.empty((len(slices), slices[0].Rows, slices[0].Columns), np.int16)
    for index, header in enumerate(slices):
        values = _modality_units(header)
        if values.dtype != np.int16 and volume.dtype == np.int16:
            volume = volume.astype(np.float32)
        volume[index] = values
    return volume


def _modality_units(header: Dataset) -> np.ndarray:
    """Return one slice after the modality transform: int16 where that is exact, else float32."""
    where = header.get("filename") or header.get("SOPInstanceUID")
    try:
        stored = (header if "PixelData" in header else dcmread(header.filename)).pixel_array
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DicomError(f"The pixels of {where} cannot be decoded: {error}") from error
    if stored.shape != (header.Rows, header.Columns):
        raise DicomError(f"Expected {header.Rows} × {header.Columns} grey values in {where}, found {stored.shape}")
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    whole = slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu"
    if whole:
        values = stored.astype(np.int32) * int(slope) + int(intercept)
        if values.min() >= -32768 and values.max() <= 32767:
            return values.astype(np.int16)
    return (stored * slope + intercept).astype(np.float32)
