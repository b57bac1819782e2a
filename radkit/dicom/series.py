"""One series, read into a volume: sorted by position, checked, in modality units.

The frame. Array axes are slice, row, column. Slices ascend along the normal of the image plane, the cross product of
the row and the column direction of ``ImageOrientationPatient``: from feet to head for an axial series. The affine takes
an index to the centre of that voxel in the patient coordinate system of PS3.3 C.7.6.2.1.1, in mm: x grows to the
patient's left, y to the back, z to the head (LPS). File names and ``InstanceNumber`` play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import highdicom as hd
import numpy as np
from highdicom import Volume
from pydicom import Dataset

from radkit.errors import DicomError

from ._file import files_in, is_dicom, read_dataset
from .decoding import CEILING, refusing
from .frames import Frame, frames_of
from .geometry import Stack
from .pixels import read_pixels

T = TypeVar("T")
Source: TypeAlias = "str | Path | Sequence[str | Path] | Sequence[Dataset]"


def read_headers(source: Source) -> list[Dataset]:
    """Read the headers of DICOM files, without their pixels, in the order of the paths.

    Parameters
    ----------
    source
        A folder (searched to its depth; what is no DICOM in it is left aside), a file, a list of files, or a list of
        datasets, which come back as they are.

    Raises
    ------
    DicomError
        If there is no DICOM file, or a file cannot be read.
    """
    headers = list(_each(source, lambda item: item if isinstance(item, Dataset) else read_dataset(item, pixels=False)))
    if not headers:
        raise DicomError(f"Expected DICOM files in {source}, found none. Is the path right, and the data fetched?")
    return headers


def read_series(
    source: Source, *, series_uid: str | None = None, resample: str | None = None, progress: bool = True
) -> Volume:
    """Read one series of parallel, evenly spaced slices, an enhanced multi-frame object, or a SEG into a volume.

    Parameters
    ----------
    source
        A folder, a file, a list of files, or a list of datasets. What has no position of its own (a report) is left
        aside, dose grids too, and segmentations where there are images.
    series_uid
        The ``SeriesInstanceUID`` to read, where there is more than one.
    resample
        ``"gaps"``: where slices are missing or unevenly spaced, interpolate linearly between the neighbours, at the
        median distance of the slices. ``"tilt"``: where the gantry was tilted, move each slice back along its own plane
        by linear interpolation, onto a plane that holds them all; outside of a slice is its lowest value. Either makes
        up values that nobody has measured.
    progress
        Show a progress bar if it takes more than two seconds.

    Returns
    -------
    Volume
        (slice, row, column), modality units (HU for CT: ``RescaleSlope`` and ``RescaleIntercept`` or the modality LUT
        are applied, PS3.3 C.11.1), int16 where that is exact and float32 elsewhere, geometry in LPS mm; slices ascend
        along the normal. From a SEG the segment numbers, 0 for none; of fractional segments the one with the largest
        part of the voxel, if that is at least half of it.

    Raises
    ------
    DicomError
        If there are several series, two orientations, sizes or pixel spacings, a gap, a double, a tilted gantry, or
        segments that overlap; the message holds the numbers.
    """
    if resample not in (None, "gaps", "tilt"):
        raise DicomError(f'Expected resample="gaps" or "tilt", not {resample!r}.')
    with refusing({"filename": source if isinstance(source, (str, Path)) else ""}, "the series cannot be read"):
        frames = _one_series([frame for frames in _each(source, frames_of) for frame in frames], series_uid)
        if frames[0].values.get("Modality") == "SEG":
            return _segments(frames)
        stack = Stack(frames)
        stack.check(resample)
        array, affine = read_pixels(stack.frames, progress=progress), stack.affine()
        if resample and len(frames) > 1:
            array, affine = stack.straightened(array) if resample == "tilt" else stack.evened(array)
        reference = frames[0].values.get("FrameOfReferenceUID")
        return Volume(array, affine, coordinate_system="PATIENT", frame_of_reference_uid=reference)


def _each(source: Source, read: Callable[[Any], T]) -> Iterator[T]:
    """Read files or datasets, one after the other; only a folder is forgiven a file that is no DICOM."""
    folder = isinstance(source, (str, Path)) and Path(source).is_dir()
    for item in files_in(source) if isinstance(source, (str, Path)) else source:
        try:
            yield read(item)
        except DicomError:
            if not folder or is_dicom(item):  # type: ignore[arg-type]
                raise


def _one_series(frames: Iterable[Frame], series_uid: str | None) -> list[Frame]:
    """Return the frames of the one series that is meant."""
    images: dict[str, list[Frame]] = {}
    masks: dict[str, list[Frame]] = {}
    for frame in frames:
        uid, modality = frame.values.get("SeriesInstanceUID") or "", frame.values.get("Modality")
        dose = modality == "RTDOSE" or "DoseGridScaling" in frame.values
        placed = frame.values.get("ImagePositionPatient") and not dose
        if series_uid in (None, uid) and (placed or modality == "SEG"):
            (masks if modality == "SEG" else images).setdefault(uid, []).append(frame)
    found = images or masks
    if not found:
        which = " of that series" if series_uid else ""
        raise DicomError(f"Expected slices with ImagePositionPatient, found none{which}.")
    if len(found) > 1:
        listed = ", ".join(f"{uid} ({len(m)} × {m[0].values.get('Modality') or '?'})" for uid, m in found.items())
        raise DicomError(f"Expected one series, found {len(found)}: {listed}. Name one with series_uid=.")
    return next(iter(found.values()))


def _segments(frames: Sequence[Frame]) -> Volume:
    """Read a segmentation as segment numbers (PS3.3 A.51), with highdicom."""
    if len(frames) > 1:
        raise DicomError(f"Expected one segmentation, found {len(frames)} objects in the series: name one file.")
    source = frames[0].source
    dataset = source if isinstance(source, Dataset) else read_dataset(source)
    with refusing(dataset, "this SEG cannot be read as a volume"):
        seg = hd.seg.Segmentation.from_dataset(dataset, copy=False)
        geometry = seg.get_volume_geometry(allow_missing_positions=True)
        fractional = seg.segmentation_type.value == "FRACTIONAL"
        if geometry is None or np.prod(geometry.spatial_shape, dtype=float) * seg.number_of_segments > CEILING / 8:
            raise ValueError(f"its frames are no volume of a size that can be: {geometry and geometry.spatial_shape}")
        volume = seg.get_volume(combine_segments=not fractional, dtype=None if fractional else np.uint16)
        if fractional:
            numbers = np.array(list(seg.segment_numbers), np.uint16)[volume.array.argmax(axis=-1)]
            volume = geometry.with_array(np.where(volume.array.max(axis=-1) >= 0.5, numbers, np.uint16(0)))
        return volume.ensure_handedness("LEFT_HANDED", flip_axis=0)
