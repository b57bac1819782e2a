"""Does a result fit its images? What a PACS or a radiologist would trip over, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from ..dicom.series import Source
from ..errors import ResultError
from ._common import TOLERANCE_MM, misplaced, source_slices

# The unit (UCUM) of volume, long axis, short axis and diameter, by their codes in SNOMED CT.
UNITS = {"118565006": "mm3", "103339001": "mm", "103340004": "mm", "81827009": "mm"}
SAME = ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex")
NOUNS = {"SEG": "segmentation", "SR": "report"}


def check(result: Dataset | Sequence[Dataset], source: Source) -> list[str]:
    """Say what is wrong with results, against the images they were made from.

    Parameters
    ----------
    result : pydicom.Dataset or sequence of Dataset
        SEG or SR, or both; given together, the references of the SR to the SEG are followed.
    source : folder, list of paths or list of datasets
        The one image series.

    Returns
    -------
    list of str
        One sentence for each defect; empty when the results share patient, study, frame of reference and geometry (to
        0.001 mm) with the images, refer only to what is there, and give every number its unit.

    Raises
    ------
    ResultError
        If a result is neither SEG nor SR, or the source is not one series.
    """
    images = source_slices(source)
    results = [result] if isinstance(result, Dataset) else list(result)
    wrong: list[str] = []
    for one in results:
        noun = NOUNS.get(one.get("Modality", ""))
        if noun is None:
            raise ResultError(
                f"Expected a segmentation (SEG) or a report (SR), got {one.get('Modality', 'no modality')}."
            )
        special = _segmentation(one, images) if noun == "segmentation" else _report(one, [*images, *results])
        wrong += [f"The {noun} {defect}." for defect in (*_shared(one, images), *special)]
    return wrong


def _shared(result: Dataset, images: list[Dataset]) -> Iterator[str]:
    """Patient and study as in the images, and no image referred to that is not there."""
    for keyword in SAME:
        if result.get(keyword) != images[0].get(keyword):
            yield f"has another {keyword} than its images"
    there = {image.SOPInstanceUID for image in images}
    series = {item.SeriesInstanceUID: item for item in result.get("ReferencedSeriesSequence", [])}
    if result.Modality == "SEG" and images[0].SeriesInstanceUID not in series:
        yield "does not refer to the series it was drawn on"
    named = {i.ReferencedSOPInstanceUID for item in series.values() for i in item.get("ReferencedInstanceSequence", [])}
    if missing := len(named - there):
        yield f"refers to {missing} images that are not in the series"


def _segmentation(segmentation: Dataset, images: list[Dataset]) -> Iterator[str]:
    """Every frame on a slice of the source, the same pixels, an image named for each frame."""
    shared, frames = segmentation.SharedFunctionalGroupsSequence[0], segmentation.PerFrameFunctionalGroupsSequence
    uid, size = segmentation.get("FrameOfReferenceUID", ""), (segmentation.Rows, segmentation.Columns)
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    corners = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
    defects = list(misplaced(images, uid, size, spacing, cosines, corners))
    yield from (f"does not fit its images: {defect}" for defect in defects)
    place = {image.SOPInstanceUID: image.ImagePositionPatient for image in images}
    named = [place.get(_drawn_on(frame), [np.inf] * 3) for frame in frames]
    if not defects and not np.allclose(named, corners, rtol=0, atol=TOLERANCE_MM):
        yield "has frames that do not name the image they lie on"


def _drawn_on(frame: Dataset) -> str:
    """The one image that a frame was derived from."""
    derivation = frame.get("DerivationImageSequence") or [Dataset()]
    sources = derivation[0].get("SourceImageSequence") or [Dataset()]
    return str(sources[0].get("ReferencedSOPInstanceUID", ""))


def _report(report: Dataset, there: Sequence[Dataset]) -> Iterator[str]:
    """Every object referred to is there, every listed segment exists, every number has its unit."""
    objects = {item.SOPInstanceUID: item for item in there}
    followed = any("SegmentSequence" in item for item in there)  # without a SEG at hand its references are let be
    missing = set()
    for item in _items(report):
        for reference in item.get("ReferencedSOPSequence", []):
            target = objects.get(reference.ReferencedSOPInstanceUID)
            if target is None and (followed or reference.ReferencedSOPClassUID != SegmentationStorage):
                missing.add(reference.ReferencedSOPInstanceUID)
            if target is not None and "SegmentSequence" in target:
                yield from _segment(reference, target)
        if item.get("ValueType") == "NUM":
            yield from _unit(item)
    if missing:
        yield f"refers to {len(missing)} objects that are not here"


def _segment(reference: Dataset, segmentation: Dataset) -> Iterator[str]:
    numbers = {segment.SegmentNumber for segment in segmentation.SegmentSequence}
    number = reference.get("ReferencedSegmentNumber")
    if number not in numbers:
        yield f"measures segment {number}, which the segmentation does not have"


def _unit(item: Dataset) -> Iterator[str]:
    name = item.ConceptNameCodeSequence[0]
    values = item.get("MeasuredValueSequence")
    units = values[0].get("MeasurementUnitsCodeSequence") if values else None
    wanted = UNITS.get(name.CodeValue)
    if not units:
        yield f"gives a {name.CodeMeaning.lower()} without a unit"
    elif units[0].CodingSchemeDesignator != "UCUM" or (wanted and units[0].CodeValue != wanted):
        found = f"{units[0].CodeValue} ({units[0].CodingSchemeDesignator})"
        yield f"gives a {name.CodeMeaning.lower()} in {found}, not in {wanted or 'a unit'} (UCUM)"


def _items(item: Dataset) -> Iterator[Dataset]:
    """Every content item of a report, from the root down (PS3.3 C.17.3)."""
    yield item
    for child in item.get("ContentSequence", []):
        yield from _items(child)
