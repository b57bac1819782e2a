"""Write a volume as the CT series that a scanner would have written: PS3.3 A.3, one file a slice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from radkit.errors import DataError

INTERCEPT = -1024
# What identifies the program that wrote a file (PS3.7 D.3.3.2): the same in every version, so no byte depends on it.
IMPLEMENTATION = generate_uid(entropy_srcs=["radkit"])

# Who, where and how. All of it is invented, and says so wherever a person would read it; the dates never change.
INVENTED: dict[str, Any] = {
    "PatientName": "RADKIT^STORY",
    "PatientID": "RADKIT-0001",
    "IssuerOfPatientID": "RADKIT",
    "PatientBirthDate": "19590101",
    "PatientSex": "M",
    "PatientAge": "065Y",
    "PatientComments": "Not a real identity: name, dates, numbers and device are invented by radkit.",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": ["Source came without any header", "Identity and dates invented by radkit"],
    "LongitudinalTemporalInformationModified": "MODIFIED",
    "StudyDate": "20240115",
    "StudyTime": "101500",
    "StudyID": "RADKIT-1",
    "AccessionNumber": "RADKIT-A0001",
    "ReferringPhysicianName": "RADKIT^REFERRER",
    "StudyDescription": "CT chest",
    "SeriesDate": "20240115",
    "SeriesTime": "101700",
    "SeriesNumber": 2,
    "SeriesDescription": "Chest",
    "ProtocolName": "RADKIT chest",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "SN",
    "Manufacturer": "RADKIT (invented)",
    "ManufacturerModelName": "RADKIT story scanner (invented)",
    "InstitutionName": "RADKIT teaching hospital (invented)",
    "StationName": "RADKIT-CT1",
    "DeviceSerialNumber": "RADKIT-0001",
    "SoftwareVersions": "RADKIT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "AcquisitionNumber": 1,
    "AcquisitionDate": "20240115",
    "AcquisitionTime": "101630",
    "ContentDate": "20240115",
    "ContentTime": "101700",
    "BurnedInAnnotation": "NO",
    "RecognizableVisualFeatures": "NO",
    "LossyImageCompression": "00",
    "KVP": 120,
    "XRayTubeCurrent": 300,
    "ExposureTime": 500,
    "Exposure": 150,
    "FilterType": "BODY",
    "ConvolutionKernel": "STANDARD",
    "DataCollectionDiameter": 500,
    "DistanceSourceToDetector": 949,
    "DistanceSourceToPatient": 541,
    "GantryDetectorTilt": 0,
    "RotationDirection": "CW",
    "WindowCenter": [40, -600],
    "WindowWidth": [400, 1500],
    "WindowCenterWidthExplanation": ["SOFT TISSUE", "LUNG"],
}


def write_ct_series(
    volume: Volume,
    folder: str | Path,
    *,
    header: Mapping[str, Any] | None = None,
    padding: int | None = None,
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
    stored = _stored(volume)
    series = _series_header(volume, {**INVENTED, **(header or {})}, padding)
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
        paths.append(folder / f"CT{number:04d}.dcm")
        _save(image, paths[-1])
    return paths


def _stored(volume: Volume) -> np.ndarray:
    """Return the values that are stored: signed 16-bit, HU minus the intercept."""
    array = volume.array
    if array.ndim != 3 or (array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))):
        raise DataError(f"Expected a volume of whole HU (slice, row, column), got {array.dtype} of shape {array.shape}")
    low, high = int(array.min()) - INTERCEPT, int(array.max()) - INTERCEPT
    if low < -32768 or high > 32767:
        raise DataError(
            f"Expected HU from -33792 to 31743, got {low + INTERCEPT} to {high + INTERCEPT}: clip the volume"
        )
    return np.ascontiguousarray(array.astype(np.int32) - INTERCEPT, dtype="<i2")


def _series_header(volume: Volume, attributes: Mapping[str, Any], padding: int | None) -> Dataset:
    """Return what every slice of the series says alike."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, INTERCEPT, "HU"
    if padding is not None:
        ds.add_new("PixelPaddingValue", "SS", padding - INTERCEPT)
    ds.PixelSpacing = _numbers(volume.pixel_spacing)
    ds.ImageOrientationPatient = _numbers([*volume.unit_vectors()[2], *volume.unit_vectors()[1]])
    ds.SliceThickness = _numbers([volume.spacing_between_slices])[0]
    ds.ReconstructionDiameter = _numbers([volume.pixel_spacing[1] * volume.shape[2]])[0]
    ds.ImagesInAcquisition = volume.shape[0]
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
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
    return [DSfloat(round(float(value), 6) + 0.0, auto_format=True) for value in values]


def _save(image: Dataset, path: Path) -> None:
    """Write a DICOM file whose meta information depends on nothing but the image."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, "RADKIT"
    image.file_meta = meta
    image.save_as(path, enforce_file_format=True)
