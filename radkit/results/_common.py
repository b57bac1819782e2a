"""What SEG and SR share: their source, their UIDs, their time, their codes."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from ..dicom import read_headers
from ..dicom.series import Source
from ..errors import ResultError

MANUFACTURER = "radkit"
TOLERANCE_MM = 1e-3

# Of the Patient and Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2) what highdicom does not carry over.
KEPT = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
)

# Where in the lungs: SNOMED CT by way of DICOM's context groups, anatomic region and laterality.
SITES: dict[str, tuple[Code, Code | None]] = {
    "lung": (codes.SCT.Lung, None),
    "right lung": (codes.SCT.Lung, codes.SCT.Right),
    "left lung": (codes.SCT.Lung, codes.SCT.Left),
    "right upper lobe": (codes.SCT.UpperLobeOfLung, codes.SCT.Right),
    "middle lobe": (codes.SCT.MiddleLobeOfRightLung, None),
    "right lower lobe": (codes.SCT.LowerLobeOfLung, codes.SCT.Right),
    "left upper lobe": (codes.SCT.UpperLobeOfLung, codes.SCT.Left),
    "left lower lobe": (codes.SCT.LowerLobeOfLung, codes.SCT.Left),
}


def finding_site(name: str) -> tuple[Code, Code | None]:
    """Return the codes of a place in the lungs."""
    if name not in SITES:
        raise ResultError(f"The site {name!r} is not known here; choose one of: {', '.join(SITES)}.")
    return SITES[name]


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


def digest(array: np.ndarray) -> str:
    """Return the sha256 of an array's values and shape."""
    content = hashlib.sha256(str((array.shape, array.dtype.str)).encode())
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


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


def misplaced(
    images: list[Dataset], uid: str | None, size: Sequence[int], spacing: Sequence[float], cosines: Any, corners: Any
) -> Iterator[str]:
    """Say where a result and its images differ by more than 0.001 mm (nothing: it fits).

    Of the result: its frame of reference, rows and columns, mm of a pixel, and each slice's corner in LPS mm.
    """
    first = images[0]
    if uid not in (None, first.FrameOfReferenceUID):
        yield "it lies in another frame of reference"
    if tuple(size) != (first.Rows, first.Columns):
        yield f"its slices are {tuple(size)} voxels, the images {(first.Rows, first.Columns)}"
    if not np.allclose(spacing, first.PixelSpacing, atol=TOLERANCE_MM, rtol=0):
        yield f"its pixels measure {list(spacing)} mm, those of the images {list(first.PixelSpacing)} mm"
    if not np.allclose(cosines, first.ImageOrientationPatient, atol=1e-4, rtol=0):
        yield f"it is turned or mirrored, its rows and columns run along {np.round(cosines, 3).tolist()}"
    there = np.array([image.ImagePositionPatient for image in images], float)
    off = np.linalg.norm(np.array(corners, float)[:, None] - there, axis=-1).min(axis=1)
    if count := int((off > TOLERANCE_MM).sum()):
        yield f"{count} of its {len(off)} slices lie up to {off.max():.3f} mm away from every image"
