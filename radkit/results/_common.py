"""What SEG, SR and KO share: their source, their UIDs, their time, their maker."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from ..dicom import read_headers
from ..dicom.series import Source
from ..errors import ResultError

MANUFACTURER = "radkit"

# Of the Patient and Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2) what highdicom does not carry over.
KEPT = (
    "IssuerOfPatientID", "PatientAge", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "PatientSize", "PatientWeight", "StudyDescription", "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
)  # fmt: skip


def source_slices(source: Source) -> list[Dataset]:
    """Return the headers of one series, sorted along its normal, after checking that it is one."""
    images = [header for header in read_headers(source) if "ImagePositionPatient" in header]
    if not images:
        raise ResultError("Expected the images that the result was made from, got none with a position.")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        found = {str(image.get(keyword, "")) for image in images}
        if len(found) > 1 or "" in found:
            raise ResultError(f"Expected one series as the source, found {len(found)} different {keyword}.")
    cosines = np.array(images[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return sorted(images, key=lambda image: float(normal @ np.array(image.ImagePositionPatient, float)))


def derived_uid(*parts: object) -> str:
    """Return a UID that depends on ``parts`` alone: the same content has the same UID on every machine and day."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def observer(algorithm: str, version: str) -> sr.ObserverContext:
    """Who looked: a device, not a person (TID 1004)."""
    uid = derived_uid(MANUFACTURER, algorithm, version)
    device = sr.DeviceObserverIdentifyingAttributes(uid, algorithm, MANUFACTURER, algorithm)
    return sr.ObserverContext(codes.DCM.Device, device)


@contextmanager
def making(what: str) -> Iterator[None]:
    """Say in our words that highdicom cannot make a result."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        raise ResultError(f"No {what} can be made of these: {error}") from error


def identity(what: str, number: int, content: Iterable[object], algorithm: str, version: str) -> dict[str, Any]:
    """Return what every result says of itself: UIDs that follow from its content, its maker, its place in the study."""
    name = {"SEG": "Segmentation", "SR": "Measurements", "KO": "Key objects"}[what]
    return {
        "series_instance_uid": derived_uid(*content, f"{what} series"),
        "series_number": number,
        "sop_instance_uid": derived_uid(*content, what),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": algorithm,
        "software_versions": version,
        "series_description": f"{name} by {algorithm}"[:64],
    }


def finish(result: Dataset, images: list[Dataset], when: datetime.datetime | None) -> None:
    """Complete a result: patient and study as in its source, and nothing in it that chance or the clock has chosen.

    It is dated ``when``, or as the images are; what highdicom draws by chance or reads off the clock is replaced.
    """
    for keyword in KEPT:
        if keyword in images[0] and not result.get(keyword):
            result[keyword] = images[0][keyword]
    moment = (when or _made(images[0])).strftime("%Y%m%d%H%M%S")
    for event in ("InstanceCreation", "Content", "Series"):
        setattr(result, f"{event}Date", moment[:8])
        setattr(result, f"{event}Time", moment[8:])
    for item in result.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = moment
    for item in [*result.get("DimensionOrganizationSequence", []), *result.get("DimensionIndexSequence", [])]:
        item.DimensionOrganizationUID = derived_uid(result.SOPInstanceUID, "dimensions")


def _made(image: Dataset) -> datetime.datetime:
    """Return when an image was made, by its own header."""
    for event in ("Content", "Acquisition", "Series", "Study"):
        if date := image.get(f"{event}Date"):
            clock = str(image.get(f"{event}Time") or "").partition(".")[0]
            return datetime.datetime.strptime(f"{date}{clock:0<6}", "%Y%m%d%H%M%S")
    return datetime.datetime(1900, 1, 1)
