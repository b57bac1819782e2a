"""Comprehensive 3D SR with template TID 1500: the numbers of a result, coded, with their units (PS3.16 TID 1500)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DS

from .. import __version__
from ..dicom.series import Source
from ..errors import ResultError
from ._common import derived_uid, finish, identity, making, observer, source_slices
from .geometry import TOLERANCE_MM
from .measurement import Measurement
from .terms import ABSENT, KINDS, PRESENCE, SITES, quality, sided

# What was done, as broad as CID 100 has it: a code outside it is an error to Pixelmed's validator.
PROCEDURES = {"CT": codes.LN.CTUnspecifiedBodyRegion, "MR": codes.LN.MRIUnspecifiedBodyRegion}
VOLUME, LONG, SHORT, DIAMETER = codes.SCT.Volume, codes.SCT.LongAxis, codes.SCT.ShortAxis, codes.SCT.Diameter
MILLIMETRE, CUBIC_MILLIMETRE = codes.UCUM.Millimeter, codes.UCUM.CubicMillimeter
Quality = Mapping[str | Code, str | Code]


@dataclass(frozen=True)
class Finding:
    """One measured lesion of a report, as `read_report` gives it back.

    Attributes
    ----------
    tracking_id, tracking_uid : str
        What names the lesion here and in later studies.
    kind, site : str
        Meaning of the coded finding and of its place.
    segmentation_uid, segment_number : str, int
        ``SOPInstanceUID`` of the SEG that outlines it, and its segment there; "" and 0 for what was looked for in vain.
    volume_mm3, long_axis_mm, short_axis_mm, mean_diameter_mm : float or None
        The numbers, in mm³ and mm.
    values : dict
        All measurements: name to (value, UCUM unit).
    regions : dict
        By the name of the axis the line that was measured: the image's ``SOPInstanceUID``, and its points (column, row)
        in pixels, where the first pixel reaches from 0 to 1 (PS3.3 C.18.6).
    qualities : dict
        Qualitative findings: meaning of the concept to meaning of its value.
    """

    tracking_id: str
    tracking_uid: str
    kind: str
    site: str
    segmentation_uid: str
    segment_number: int
    volume_mm3: float | None
    long_axis_mm: float | None
    short_axis_mm: float | None
    mean_diameter_mm: float | None
    values: dict[str, tuple[float, str]] = field(default_factory=dict)
    regions: dict[str, tuple[str, list[tuple[float, float]]]] = field(default_factory=dict)
    qualities: dict[str, str] = field(default_factory=dict)

    @property
    def absent(self) -> bool:
        """Whether it was looked for, and not found."""
        return self.qualities.get(PRESENCE.meaning) == ABSENT.meaning

    @property
    def tracking(self) -> tuple[str, str]:
        """TrackingID and TrackingUID, to hand on to `write_segmentation` when the lesion is seen again."""
        return self.tracking_id, self.tracking_uid


def write_report(
    measurements: Measurement | Sequence[Measurement],
    source: Source,
    segmentation: Dataset | None,
    *,
    kind: str | Code | None = None,
    site: str | Code | Sequence[str | Code] | None = None,
    qualitative: Quality | Sequence[Quality] = MappingProxyType({}),
    procedure: Code | None = None,
    algorithm: str = "radkit lung nodule",
    version: str = __version__,
    when: datetime.datetime | None = None,
) -> sr.Comprehensive3DSR:
    """Make a TID 1500 measurement report: what each segment measures, and its axes as lines on their image.

    Each lesion is a volumetric group (TID 1411) on its segment and two planar groups (TID 1410) with a line on the
    image; all carry its tracking identifier. Numbers are rounded to the 16 characters of a DS (PS3.5, 6.2), so that
    what is read is what was written, whichever attribute a reader takes.

    Without a measurement it says that ``kind`` was looked for at ``site`` in these images and is absent (TID 1501):
    only an archive that holds such a report can tell a study without a finding from one that nobody looked at.

    Parameters
    ----------
    measurements : Measurement or sequence of Measurement
        Of the segments, in the order of their numbers; the first belongs to segment 1. Empty: nothing was found.
    source : folder, list of paths or list of datasets
        The images.
    segmentation : pydicom.Dataset or None
        The SEG from `write_segmentation`; each group refers to its segment and takes its tracking identifier. None
        where there is nothing to outline.
    kind, site : str or pydicom.sr.coding.Code, optional
        Finding (PS3.16 CID 7151) and finding site (CID 4031), as the segment has them unless given: one site for all,
        or one for each. What is absent must be named.
    qualitative : mapping, or one for each measurement
        Qualitative findings: {"border shape": "spiculated"}, with "border definition", "content" and "response" as
        DICOM's groups for the chest have them (CID 6119, 6120, 6122, 6143), or any pair of pydicom codes.
    procedure : pydicom.sr.coding.Code, optional
        Procedure reported (PS3.16 CID 100); the imaging of the source's modality unless given.
    algorithm, version : str
        The device observer: software, not a person.
    when : datetime.datetime, optional
        Date of the content; that of the images unless given.

    Returns
    -------
    highdicom.sr.Comprehensive3DSR
        Complete, unverified, preliminary: nobody has signed it.

    Raises
    ------
    ResultError
        If there are more measurements than segments, if a name has no code, if nothing was found and ``kind`` does not
        say of what, or if SEG, measurements and images do not belong together.
    """
    images = source_slices(source)
    lesions = [measurements] if isinstance(measurements, Measurement) else list(measurements)
    procedure = procedure or PROCEDURES.get(images[0].Modality, codes.SCT.ImagingProcedure)
    made, objects = (algorithm, version), [] if segmentation is None else [segmentation]
    about = [one.SOPInstanceUID for one in objects or images]
    with making("report"):
        groups = list(_lesions(lesions, segmentation, images, kind, site, qualitative, made))
        shown = images if segmentation is None else _shown(images, segmentation)
        report = sr.Comprehensive3DSR(
            evidence=[*objects, *shown],
            content=sr.MeasurementReport(
                observation_context=sr.ObservationContext(observer_device_context=observer(*made)),
                procedure_reported=procedure,
                imaging_measurements=groups,
                title=codes.DCM.ImagingMeasurementReport,
                referenced_images=shown,
            ),
            is_complete=True,
            **identity("SR", 901, (about, lesions, site, kind, qualitative, procedure, *made, when), *made),
        )
    finish(report, images, when)
    return report


def _shown(images: list[Dataset], segmentation: Dataset) -> list[Dataset]:
    """The images that the lesions lie on: the image library, TID 1600."""
    uids = {
        item.ReferencedSOPInstanceUID
        for frame in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in frame.get("DerivationImageSequence", [])
        for item in derivation.SourceImageSequence
    }
    return [image for image in images if image.SOPInstanceUID in uids]


def _lesions(
    lesions: list[Measurement], segmentation: Dataset | None, images: list[Dataset], kind: Any, site: Any,
    qualitative: Quality | Sequence[Quality], made: tuple[str, str],
) -> Iterator[Any]:  # fmt: skip
    """The measurement groups of all lesions; or the one that says there is none (TID 1501)."""
    if segmentation is None:
        if lesions or not kind:
            raise ResultError(
                "Expected the segmentation of what was measured; or no measurement, and the kind of what is absent."
            )
        place, side = sided(site, "site", *SITES) if site else (None, None)
        yield sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(derived_uid(images[0].SOPInstanceUID, kind, "absent"), "none"),
            finding_type=sided(kind, "kind", KINDS)[0],
            finding_sites=[sr.FindingSite(place, side)] if place else None,
            algorithm_id=sr.AlgorithmIdentification(*made),
            qualitative_evaluations=[sr.QualitativeEvaluation(PRESENCE, ABSENT)],
        )
        return
    segments = [one for one in segmentation.get("SegmentSequence", []) if one.SegmentNumber]  # 0 is background
    sites = [site] * len(lesions) if site is None or isinstance(site, (str, Code)) else list(site)
    qualities = [qualitative] * len(lesions) if isinstance(qualitative, Mapping) else list(qualitative)
    if not 0 < len(lesions) <= len(segments) or not len(sites) == len(qualities) == len(lesions):
        raise ResultError(
            f"{len(lesions)} measurements, {len(sites)} sites, {len(segments)} segments: these do not pair up."
        )
    if segmentation.StudyInstanceUID != images[0].StudyInstanceUID:
        raise ResultError("The segmentation belongs to another study than the images.")
    for lesion, segment, where, found in zip(lesions, segments, sites, qualities, strict=False):
        yield from _groups(lesion, segmentation, segment, images, kind, where, found, made)


def _groups(
    lesion: Measurement, segmentation: Dataset, segment: Dataset, images: list[Dataset], kind: Any, site: Any,
    qualities: Quality, algorithm: tuple[str, str],
) -> Iterator[Any]:  # fmt: skip
    """One lesion: its size on its segment (TID 1411), and each axis as a line on its image (TID 1410)."""
    own, place, side = segment.SegmentedPropertyTypeCodeSequence[0], None, None
    if site is not None:
        place, side = sided(site, "site", *SITES)
    elif region := segment.get("AnatomicRegionSequence"):
        place, side = _code(region[0]), _code(*region[0].get("AnatomicRegionModifierSequence", []))
    elif side := _code(*own.get("SegmentedPropertyTypeModifierCodeSequence", [])):  # a left kidney is its own place
        place = _code(own)
    same: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        "finding_type": _code(own) if kind is None else sided(kind, "kind", KINDS)[0],
        "finding_sites": [sr.FindingSite(place, side)] if place else None,
        "algorithm_id": sr.AlgorithmIdentification(*algorithm),
    }
    series = sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID)
    numbers = [
        _number(VOLUME, lesion.volume_mm3, CUBIC_MILLIMETRE),
        _number(LONG, lesion.long_axis_mm),
        _number(SHORT, lesion.short_axis_mm),
        _number(DIAMETER, lesion.mean_diameter_mm, derivation=codes.SCT.Mean),
    ]
    yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        **same,
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID, segmentation.SOPInstanceUID, segment.SegmentNumber, source_series=series
        ),
        measurements=numbers,
        qualitative_evaluations=[sr.QualitativeEvaluation(*quality(*pair)) for pair in qualities.items()] or None,
    )
    for number, ends in zip(numbers[1:3], (lesion.long_axis, lesion.short_axis), strict=True):
        region = _line_on_image(np.array(ends), images)
        yield sr.PlanarROIMeasurementsAndQualitativeEvaluations(**same, referenced_region=region, measurements=[number])


def _code(item: Dataset | None = None, *_: Dataset) -> Code | None:
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) if item is not None else None


def _line_on_image(ends: np.ndarray, images: list[Dataset]) -> sr.ImageRegion:
    """A line between two points (LPS mm), in the pixels of the image that it lies on."""
    cosines = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    offsets = ends[:, None] - np.array([image.ImagePositionPatient for image in images], float)
    away = abs(offsets @ np.cross(*cosines)).max(axis=0)
    if away.min() > TOLERANCE_MM:
        raise ResultError(f"A measured line lies {away.min():.3f} mm away from every image: measured elsewhere?")
    image, offset = images[away.argmin()], offsets[:, away.argmin()]
    pixels = offset @ cosines.T / image.PixelSpacing[::-1] + 0.5  # the corner of the first is 0, 0 (C.18.6.1.1)
    source = sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    return sr.ImageRegion(sr.GraphicTypeValues.POLYLINE, pixels.round(3), source)


def _number(name: Code, value: float, unit: Code = MILLIMETRE, **more: Any) -> sr.Measurement:
    return sr.Measurement(name, float(str(DS(value, auto_format=True))), unit, **more)


def read_report(report: Dataset) -> list[Finding]:
    """Read the measured lesions of a TID 1500 report.

    Returns
    -------
    list of Finding
        One for each volumetric group, in the order of the report; or the one that is `absent`.

    Raises
    ------
    ResultError
        If it is no Comprehensive 3D SR with a TID 1500 report.
    """
    try:
        content: Any = sr.Comprehensive3DSR.from_dataset(report).content
        planar = content.get_planar_roi_measurement_groups()
        groups = content.get_volumetric_roi_measurement_groups() or content.get_image_measurement_groups()
        return [_finding(group, planar) for group in groups]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"Expected a Comprehensive 3D SR with a TID 1500 measurement report: {error}") from error


def _finding(group: Any, planar: list[Any]) -> Finding:
    items = group.get_measurements()
    number = {item.name.value: float(item.value) for item in items}
    segment = getattr(group, "referenced_segment", None)  # what is absent has none
    site = group.finding_sites[0] if group.finding_sites else None
    side = f", {site.laterality.meaning.lower()}" if site is not None and site.laterality else ""
    regions = [one for one in planar if one.tracking_uid == group.tracking_uid]
    return Finding(
        tracking_id=str(group.tracking_identifier),
        tracking_uid=str(group.tracking_uid),
        kind=group.finding_type.meaning if group.finding_type else "",
        site=f"{site.value.meaning}{side}" if site is not None else "",
        segmentation_uid=str(segment.referenced_sop_instance_uid) if segment else "",
        segment_number=int((segment.referenced_segment_numbers or [0])[0]) if segment else 0,
        volume_mm3=number.get(VOLUME.value),
        long_axis_mm=number.get(LONG.value),
        short_axis_mm=number.get(SHORT.value),
        mean_diameter_mm=number.get(DIAMETER.value),
        values={item.name.meaning: (float(item.value), item.unit.value) for item in items},
        regions={item.name.meaning: _line(one.roi) for one in regions for item in one.get_measurements()},
        qualities={item.name.meaning: item.value.meaning for item in group.get_qualitative_evaluations()},
    )


def _line(region: Any) -> tuple[str, list[tuple[float, float]]]:
    """An image and points on it; their single precision (FL) is good for a thousandth of a pixel."""
    image = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return str(image), [(round(float(x), 3), round(float(y), 3)) for x, y in region.value]
