"""Does a result fit its images? What a PACS or a radiologist would trip over, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from ..dicom.series import Source
from ..errors import ResultError
from ._common import source_slices
from .geometry import misplaced
from .segmentation import read_segmentation
from .terms import ABSENT, KINDS, PRESENCE, SITES, TITLES

# The unit (UCUM) of volume, long axis, short axis and diameter, by their codes in SNOMED CT.
VOLUME = "118565006"
UNITS = {VOLUME: "mm3", "103339001": "mm", "103340004": "mm", "81827009": "mm"}
SAME = ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex")
FACTOR = 1.5  # between two volumes of one lesion: a surface holds less than its voxels, but not by half
NOUNS = {"SEG": "segmentation", "SR": "report", "KO": "key object note"}
GROUP, TRACKING = "125007", "112040"  # DCM: Measurement Group, Tracking Unique Identifier
EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
# The context groups (PS3.16) of what a report names and codes: titles by modality, values by the code of their concept.
TITLED = {"SR": (7021,), "KO": (TITLES,)}
CODED = {"363698007": ("finding site", SITES), "G-C0E3": ("finding site", SITES), "121058": ("procedure", (100,))}
MEASURED = (218, 7469)


def check(result: Dataset | Sequence[Dataset], source: Source) -> list[str]:
    """Say what is wrong with results, against the images they were made from.

    What the headers cannot show stays unseen: a mask drawn from an array whose rows or slices ran the other way, then
    written with the positions and the names of those other images, agrees with itself. Look at it on its images.

    Parameters
    ----------
    result : pydicom.Dataset or sequence of Dataset
        SEG (binary or label map; of a fractional one the headers), TID 1500 SR or key object note, of any maker;
        given together, the references of one to another are followed.
    source : folder, list of paths or list of datasets
        The one image series.

    Returns
    -------
    list of str
        One sentence for each defect; empty when the results share patient, study, frame of reference and geometry (to
        0.001 mm) with the images, each frame names the image it lies on (PS3.3 C.8.20.3), all that is referred to is
        there and listed as evidence, every number has its unit, every volume is that of its segment (within a factor of
        1.5), every lesion has a tracking UID, and every code is one of its context group in PS3.16 (segments CID 7150,
        7151; sites CID 4031, 4; measurements CID 218; titles CID 7021, 7010). DICOM lets a maker extend most of these
        groups; a reader that does not know the code shows nothing.

    Raises
    ------
    ResultError
        If a result is neither SEG, SR nor KO, or the source is not one series.
    """
    images = source_slices(source)
    results = [result] if isinstance(result, Dataset) else list(result)
    wrong: dict[str, None] = {}  # a set that keeps its order
    for one in results:
        noun = NOUNS.get(one.get("Modality", ""))
        if noun is None:
            found = one.get("Modality", "no modality")
            raise ResultError(f"Expected a segmentation (SEG), a report (SR) or a key object note (KO), got {found}.")
        special = _segmentation(one, images) if one.Modality == "SEG" else _document(one, [*images, *results])
        try:
            for defect in chain(_shared(one, images), special):
                wrong[f"The {noun} {defect}."] = None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            lacking = getattr(error, "name", None) or "what it must hold"  # never the message: it may quote a value
            wrong[f"The {noun} lacks {lacking}, or has it in a form not understood: the rest is unchecked."] = None
    return list(wrong)


def _shared(result: Dataset, images: list[Dataset]) -> Iterator[str]:
    """Patient and study as in the images, and no image referred to that is not there."""
    for keyword in SAME:
        if str(result.get(keyword) or "") != str(images[0].get(keyword) or ""):
            yield f"has another {keyword} than its images"
    there = {image.SOPInstanceUID for image in images}
    series = {item.SeriesInstanceUID: item for item in result.get("ReferencedSeriesSequence", [])}
    if result.Modality == "SEG" and images[0].SeriesInstanceUID not in series:
        yield "does not refer to the series it was drawn on"
    named = {i.ReferencedSOPInstanceUID for item in series.values() for i in item.get("ReferencedInstanceSequence", [])}
    if missing := len(named - there):
        yield f"refers to {missing} images that are not in the series"


def _segmentation(segmentation: Dataset, images: list[Dataset]) -> Iterator[str]:
    """Every frame on the image that it names; every segment coded, and to be found again."""
    yield from _frames(segmentation, images)
    if segmentation.get("SegmentationType") == "FRACTIONAL":
        yield "is fractional: each voxel holds a probability or a share, no mask; only its headers were checked"
    for segment in segmentation.get("SegmentSequence", []):
        which = f"segment {segment.get('SegmentNumber')}"
        if segment.get("SegmentNumber") == 0:  # a label map's background
            continue
        yield from _outside(f"category of {which}", segment.get("SegmentedPropertyCategoryCodeSequence"), 7150)
        yield from _outside(f"type of {which}", segment.get("SegmentedPropertyTypeCodeSequence"), KINDS)
        if segment.get("AnatomicRegionSequence"):
            yield from _outside(f"anatomic region of {which}", segment.AnatomicRegionSequence, *SITES)
        if not segment.get("TrackingUID"):
            yield f"gives {which} no tracking UID: nobody can tell it again in the next study"


def _frames(segmentation: Dataset, images: list[Dataset]) -> Iterator[str]:
    """Where the frames lie, by the functional groups that each has or all share (PS3.3 C.7.6.16)."""
    shared = [*segmentation.get("SharedFunctionalGroupsSequence", []), Dataset()][0]
    frames = segmentation.get("PerFrameFunctionalGroupsSequence", [])

    def given(macro: str, keyword: str) -> list[Any]:
        items = ([*(frame.get(macro) or shared.get(macro) or []), Dataset()][0] for frame in frames)
        return [item.get(keyword) for item in items]

    corners = given("PlanePositionSequence", "ImagePositionPatient")
    spacings = given("PixelMeasuresSequence", "PixelSpacing")
    turns = given("PlaneOrientationSequence", "ImageOrientationPatient")
    kinds = len(set(map(str, spacings))) * len(set(map(str, turns)))  # 0 without a frame
    if kinds != 1 or not all([*corners, *spacings, *turns]):
        yield "does not give its frames a place, one pixel size and one orientation: it cannot be laid on its images"
        return
    named = [
        {str(item.ReferencedSOPInstanceUID) for derived in group for item in derived.get("SourceImageSequence", [])}
        for group in (frame.get("DerivationImageSequence") or [] for frame in frames)
    ]
    uid, size = segmentation.get("FrameOfReferenceUID", ""), (segmentation.Rows, segmentation.Columns)
    for defect in misplaced(images, uid, size, spacings[0], turns[0], corners, named):
        yield f"does not fit its images: {defect}"
    if nameless := sum(not uids for uids in named):
        yield f"has {nameless} frames that name no image they were drawn on"


def _document(document: Dataset, there: Sequence[Dataset]) -> Iterator[str]:
    """Every object referred to is there and listed, every number has its unit, every code is of its group."""
    objects = {item.SOPInstanceUID: item for item in there}
    segmentations = [item for item in there if "SegmentSequence" in item]
    measured = segmentations if document.Modality == "SR" else ()  # a key object note measures nothing
    volumes = {item.SOPInstanceUID: _volumes(item) for item in measured}
    yield from _outside("title", document.get("ConceptNameCodeSequence"), *TITLED[document.Modality])
    referred = {}
    for item in _items(document):
        for reference in item.get("ReferencedSOPSequence", []):
            referred[reference.ReferencedSOPInstanceUID] = reference.ReferencedSOPClassUID
        if item.get("ValueType") == "NUM":
            yield from _number(item)
        if _concept(item) == GROUP:
            yield from _group(item, objects, volumes)
        if _concept(item) in CODED and item.get("ValueType") == "CODE":
            what, groups = CODED[_concept(item)]
            yield from _outside(what, item.get("ConceptCodeSequence"), *groups)
    gone = [kind for uid, kind in referred.items() if uid not in objects]
    # Without a SEG at hand the references to one are let be.
    if missing := sum(bool(segmentations) or kind != SegmentationStorage for kind in gone):
        yield f"refers to {missing} objects that are not here"
    studies = [study for keyword in EVIDENCE for study in document.get(keyword, [])]
    series = [series for study in studies for series in study.get("ReferencedSeriesSequence", [])]
    listed = {item.ReferencedSOPInstanceUID for one in series for item in one.get("ReferencedSOPSequence", [])}
    if unlisted := len(referred.keys() - listed):
        yield f"does not list {unlisted} of the objects it refers to as evidence: a PACS cannot tell where they are"


def _volumes(segmentation: Dataset) -> dict[int, float]:
    """What each segment holds, in mm³; nothing where they overlap or are no masks."""
    with suppress(Exception):  # of a damaged one its own check tells
        mask = read_segmentation(segmentation)
        return dict(enumerate(np.bincount(mask.array.ravel()) * mask.voxel_volume))
    return {}


def _group(group: Dataset, objects: dict[str, Dataset], volumes: dict[str, dict[int, float]]) -> Iterator[str]:
    """A lesion has a name that lasts, a place, and the segment that it says it has (TID 1411)."""
    children = group.get("ContentSequence", [])
    tracking = next((child.get("UID") for child in children if _concept(child) == TRACKING), None)
    if not tracking:
        yield "measures a lesion without a tracking UID: nobody can tell it again in the next study"
    kinds = {child.get("ValueType") for child in children}
    present = [child.ConceptCodeSequence[0] for child in children if _concept(child) == PRESENCE.value]
    absent = [value for value in present if value.CodeValue == ABSENT.value]  # and has no place
    if not absent and kinds.isdisjoint(("IMAGE", "SCOORD", "SCOORD3D", "COMPOSITE")):
        yield "measures a lesion without saying where it is: it names neither segment, region nor image"
    for child in children:
        if child.get("ValueType") == "NUM":
            yield from _outside("measurement", child.get("ConceptNameCodeSequence"), *MEASURED)
    for reference in (item for child in children for item in child.get("ReferencedSOPSequence", [])):
        segments = objects.get(reference.ReferencedSOPInstanceUID, Dataset()).get("SegmentSequence")
        number = reference.get("ReferencedSegmentNumber")
        found = [segment for segment in segments or [] if segment.SegmentNumber == number]
        if segments and not found:
            yield f"measures segment {number}, which the segmentation does not have"
        elif found and tracking and found[0].get("TrackingUID", tracking) != tracking:
            yield f"follows segment {number} by another tracking UID than the segmentation"
        if held := volumes.get(reference.ReferencedSOPInstanceUID, {}).get(number):
            for said in _said(children):
                if not held / FACTOR < said < held * FACTOR:
                    yield f"gives a volume of {said:,.0f} mm³ to segment {number}, which holds {held:,.0f} mm³"


def _said(children: Sequence[Dataset]) -> Iterator[float]:
    """The volumes that a group gives, in mm³; those in another unit are told of elsewhere."""
    for child in children:
        for value in child.get("MeasuredValueSequence", []) if _concept(child) == VOLUME else ():
            if [unit.CodeValue for unit in value.get("MeasurementUnitsCodeSequence", [])] == [UNITS[VOLUME]]:
                yield float(value.NumericValue)


def _number(item: Dataset) -> Iterator[str]:
    """A number has a unit of UCUM."""
    name = item.ConceptNameCodeSequence[0]
    values = item.get("MeasuredValueSequence")
    units = values[0].get("MeasurementUnitsCodeSequence") if values else None
    wanted = UNITS.get(_concept(item))
    if not units:
        if not item.get("NumericValueQualifierCodeSequence"):  # it says why there is no number
            yield f"gives a {name.CodeMeaning.lower()} without a unit"
    elif units[0].CodingSchemeDesignator != "UCUM" or (wanted and units[0].CodeValue != wanted):
        found = f"{units[0].CodeValue} ({units[0].CodingSchemeDesignator})"
        yield f"gives a {name.CodeMeaning.lower()} in {found}, not in {wanted or 'a unit'} (UCUM)"


@cache
def _known(*groups: int) -> set[Code]:
    """Return the codes of context groups (PS3.16)."""
    tables = [getattr(codes, f"cid{number}") for number in groups]
    return {getattr(table, name) for table in tables for name in table.dir()}


def _outside(what: str, sequence: Any, *groups: int) -> Iterator[str]:
    """Say so where a code is missing, or is none of its context group."""
    if not sequence:
        yield f"has no {what}"
        return
    value = next((sequence[0].get(k) for k in ("CodeValue", "LongCodeValue", "URNCodeValue") if k in sequence[0]), "")
    scheme, meaning = sequence[0].get("CodingSchemeDesignator", ""), sequence[0].get("CodeMeaning", "")
    if Code(value, scheme, meaning) not in _known(*groups):
        yield f"has a {what}, {meaning!r} ({value}, {scheme}), that is not in DICOM's CID {groups[0]}"


def _concept(item: Dataset) -> str:
    """The code of what an item is about; "" for one that has no name."""
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].get("CodeValue", "")) if name else ""


def _items(item: Dataset) -> Iterator[Dataset]:
    """Every content item of a report, from the root down (PS3.3 C.17.3)."""
    yield item
    for child in item.get("ContentSequence", []):
        yield from _items(child)
