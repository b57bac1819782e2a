"""Write a volume as the CT series that a scanner would have written: PS3.3 A.3, one file a slice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from highdicom import Volume
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from radkit.errors import DataError

HEADERS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("headers.yaml").read_text("utf-8"))
INTERCEPT = HEADERS["ct"]["RescaleIntercept"]
# What identifies the program that wrote a file (PS3.7 D.3.3.2): the same in every version, so no byte depends on it.
IMPLEMENTATION = generate_uid(entropy_srcs=["radkit"])


def write_ct_series(
    volume: Volume, folder: str | Path, *, header: Mapping[str, Any] | None = None, padding: int | None = None
) -> list[Path]:
    """Write a CT volume as a DICOM series: CT Image Storage, Explicit VR Little Endian, one file a slice.

    Every UID is derived from what is written, so the same volume and header give the same files on every machine and on
    every day. Files and ``InstanceNumber`` count from the last slice of the volume down: head first, as scanners do.

    Parameters
    ----------
    volume
        (slice, row, column) in whole HU, geometry in LPS mm.
    folder
        Where the files go; made if it is not there.
    header
        Attributes by keyword, over the invented ones; ``None`` leaves one out.
    padding
        HU that stands for "outside the field of view", written as ``PixelPaddingValue``.

    Returns
    -------
    list of Path
        One file a slice, in the order of ``InstanceNumber``.

    Raises
    ------
    DataError
        If the voxels are not whole HU that fit signed 16 bits.
    """
    alike = {"SOPClassUID": CTImageStorage, "Modality": "CT", **HEADERS["invented"], **HEADERS["ct"]}
    return write_slices(volume, folder, {**alike, **(header or {})}, padding)


def write_slices(
    volume: Volume, folder: str | Path, attributes: Mapping[str, Any], padding: int | None = None
) -> list[Path]:
    """Write a volume, in what the attributes' ``RescaleType`` says, as a series of their SOP class."""
    stored = _stored(volume, attributes.get("RescaleIntercept") or 0, attributes.get("RescaleType", "numbers"))
    series = _series_header(volume, attributes, padding)
    digest = _digest(series, stored, volume.affine)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if keyword not in series:
            setattr(series, keyword, generate_uid(entropy_srcs=[digest, keyword]))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, index in enumerate(reversed(range(len(stored))), start=1):
        image = _slice(series, volume, stored[index], index)
        image.InstanceNumber = number
        image.SOPInstanceUID = generate_uid(entropy_srcs=[digest, str(index)])
        paths.append(folder / f"{series.Modality}{number:04d}.dcm")
        save(image, paths[-1])
    return paths


def _stored(volume: Volume, intercept: int, unit: str) -> np.ndarray:
    """Return the values that are stored: signed 16-bit, without the intercept."""
    array = volume.array
    if array.ndim != 3 or (array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))):
        raise DataError(
            f"Expected a volume of whole {unit} (slice, row, column), got {array.dtype} of shape {array.shape}"
        )
    low, high = -32768 + intercept, 32767 + intercept
    if array.min() < low or array.max() > high:
        raise DataError(f"Expected {unit} from {low} to {high}, got {array.min()} to {array.max()}: clip the volume")
    return np.ascontiguousarray(array.astype(np.int32) - intercept, dtype="<i2")


def dataset(attributes: Mapping[str, Any]) -> Dataset:
    """Return a dataset of attributes by keyword; what is None is left out."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def _series_header(volume: Volume, attributes: Mapping[str, Any], padding: int | None) -> Dataset:
    """Return what every slice of the series says alike."""
    across, down = volume.unit_vectors()[2], volume.unit_vectors()[1]
    geometry: dict[str, Any] = {
        "Rows": volume.shape[1],
        "Columns": volume.shape[2],
        "PixelSpacing": _numbers(volume.pixel_spacing),
        "ImageOrientationPatient": _numbers([*across, *down]),
        "SliceThickness": _numbers([volume.spacing_between_slices])[0],
        "ReconstructionDiameter": _numbers([volume.pixel_spacing[1] * volume.shape[2]])[0],
        "ImagesInAcquisition": volume.shape[0],
    }
    ds = dataset({**HEADERS["slices"], **geometry, **attributes})
    if padding is not None:
        ds.add_new("PixelPaddingValue", "SS", padding - INTERCEPT)
    return ds


def _digest(series: Dataset, stored: np.ndarray, affine: np.ndarray) -> str:
    """Return the sha256 of all that is written, to derive UIDs from."""
    content = hashlib.sha256(json.dumps(series.to_json_dict(), sort_keys=True).encode())
    content.update(str(np.round(affine, 4).tolist()).encode())
    content.update(stored.tobytes())
    return content.hexdigest()


def _slice(series: Dataset, volume: Volume, stored: np.ndarray, index: int) -> Dataset:
    """Return one image of the series: its place (PS3.3 C.7.6.2) and its pixels."""
    image = Dataset(series)
    corner = volume.affine[:3] @ (index, 0, 0, 1)
    image.ImagePositionPatient = _numbers(corner)
    image.SliceLocation = _numbers([corner @ np.cross(volume.unit_vectors()[2], volume.unit_vectors()[1])])[0]
    image.add_new("PixelData", "OW", stored.tobytes())
    return image


def _numbers(values: Any) -> list[DSfloat]:
    """Return decimal strings of at most 16 characters, without a minus before zero."""
    return [DSfloat(round(float(value), 8) + 0.0, auto_format=True) for value in values]


def save(image: Dataset, path: Path) -> None:
    """Write a DICOM file whose meta information depends on nothing but the image."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, "RADKIT"
    image.file_meta = meta
    image.save_as(path, enforce_file_format=True)
