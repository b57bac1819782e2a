"""Comprehensive 3D SR with template TID 1500: the numbers of a result, coded, with their units (PS3.16 TID 1500)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from .. import __version__
from ..dicom.series import Source
from ..errors import ResultError
from ._common import MANUFACTURER, derived_uid, finding_site, finish, source_slices
from .measurement import Measurement
from .segmentation import NODULE

# What was done, as broad as CID 100 has it: a code outside it is an error to Pixelmed's validator.
PROCEDURES = {"CT": codes.LN.CTUnspecifiedBodyRegion, "MR": codes.LN.MRIUnspecifiedBodyRegion}
VOLUME, LONG, SHORT, DIAMETER = codes.SCT.Volume, codes.SCT.LongAxis, codes.SCT.ShortAxis, codes.SCT.Diameter
MILLIMETRE, CUBIC_MILLIMETRE = codes.UCUM.Millimeter, codes.UCUM.CubicMillimeter


@dataclass(frozen=True)
class Finding:
    """One measured lesion of a report, as `read_report` gives it back.

    Attributes
    ----------
    tracking_id, tracking_uid : str
        What names the lesion here and in later studies.
    kind, site : str
        Meaning of the coded finding and of its place.
    segmentation_uid : str
        ``SOPInstanceUID`` of the SEG that outlines it.
    segment_number : int
        Its segment there.
    volume_mm3, long_axis_mm, short_axis_mm, mean_diameter_mm : float or None
        The numbers, in mm³ and mm.
    values : dict
        All measurements: name to (value, UCUM unit).
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


def write_report(
    measurements: Measurement | Sequence[Measurement],
    source: Source,
    segmentation: Dataset,
    *,
    kind: Code = NODULE,
    site: str | Sequence[str] = "lung",
    procedure: Code | None = None,
    algorithm: str = "radkit lung nodule",
    version: str = __version__,
    when: datetime.datetime | None = None,
) -> sr.Comprehensive3DSR:
    """Make a TID 1500 measurement report: one group (TID 1411) for each measured segment.

    Parameters
    ----------
    measurements : Measurement or sequence of Measurement
        Of the segments, in the order of their numbers; the first belongs to segment 1.
    source : folder, list of paths or list of datasets
        The images.
    segmentation : pydicom.Dataset
        The SEG from `write_segmentation`; each group refers to its segment and takes its tracking identifier.
    kind, site
        Finding (SNOMED CT) and finding site: one site for all, or one for each.
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
        If there is no measurement (TID 1500 must hold one), if there are more than segments, or if SEG and images do
        not belong together.
    """
    images = source_slices(source)
    groups = [measurements] if isinstance(measurements, Measurement) else list(measurements)
    sites = [site] * len(groups) if isinstance(site, str) else list(site)
    segments = list(segmentation.get("SegmentSequence", []))
    if not 0 < len(groups) <= len(segments) or len(sites) != len(groups):
        raise ResultError(
            f"{len(groups)} measurements, {len(sites)} sites, {len(segments)} segments: these do not pair up."
        )
    if segmentation.StudyInstanceUID != images[0].StudyInstanceUID:
        raise ResultError("The segmentation belongs to another study than the images.")
    shown = _shown(images, segmentation)
    procedure = procedure or PROCEDURES.get(images[0].Modality, codes.SCT.ImagingProcedure)
    content = (segmentation.SOPInstanceUID, groups, sites, kind, procedure, algorithm, version, when)
    try:
        report = sr.Comprehensive3DSR(
            evidence=[segmentation, *shown],
            content=sr.MeasurementReport(
                observation_context=_observer(algorithm, version),
                procedure_reported=procedure,
                imaging_measurements=[
                    _group(measurement, _segment(segmentation, segment, images), place, kind, (algorithm, version))
                    for measurement, segment, place in zip(groups, segments, sites, strict=False)
                ],
                title=codes.DCM.ImagingMeasurementReport,
                referenced_images=shown,
            ),
            series_instance_uid=derived_uid(*content, "SR series"),
            series_number=901,  # behind what a scanner makes
            sop_instance_uid=derived_uid(*content, "SR"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=algorithm,
            software_versions=version,
            is_complete=True,
            series_description=f"Measurements by {algorithm}"[:64],
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ResultError(f"No report can be made from these measurements and images: {error}") from error
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


def _segment(segmentation: Dataset, segment: Dataset, images: list[Dataset]) -> dict[str, Any]:
    """What a group says of its segment: its name here and later, and where its outline is."""
    return {
        "tracking_identifier": sr.TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        "referenced_segment": sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=segment.SegmentNumber,
            source_series=sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID),
        ),
    }


def _observer(algorithm: str, version: str) -> sr.ObservationContext:
    """Who measured: a device (TID 1004)."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(MANUFACTURER, algorithm, version),
        name=algorithm,
        manufacturer_name=MANUFACTURER,
        model_name=algorithm,
        serial_number=version,
    )
    return sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device))


def _group(
    measured: Measurement, segment: dict[str, Any], site: str, kind: Code, algorithm: tuple[str, str]
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """One lesion (TID 1411): what, where, which segment, how large."""
    region, laterality = finding_site(site)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        **segment,
        finding_type=kind,
        finding_sites=[sr.FindingSite(region, laterality)],
        algorithm_id=sr.AlgorithmIdentification(*algorithm),
        measurements=[
            sr.Measurement(VOLUME, measured.volume_mm3, CUBIC_MILLIMETRE),
            sr.Measurement(LONG, measured.long_axis_mm, MILLIMETRE),
            sr.Measurement(SHORT, measured.short_axis_mm, MILLIMETRE),
            sr.Measurement(DIAMETER, measured.mean_diameter_mm, MILLIMETRE, derivation=codes.SCT.Mean),
        ],
    )


def read_report(report: Dataset) -> list[Finding]:
    """Read the measured lesions of a TID 1500 report.

    Parameters
    ----------
    report : pydicom.Dataset
        A Comprehensive 3D SR.

    Returns
    -------
    list of Finding
        One for each volumetric group, in the order of the report.

    Raises
    ------
    ResultError
        If it is no such report.
    """
    try:
        content: Any = sr.Comprehensive3DSR.from_dataset(report).content
        return [_finding(group) for group in content.get_volumetric_roi_measurement_groups()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"Expected a Comprehensive 3D SR with a TID 1500 measurement report: {error}") from error


def _finding(group: sr.VolumetricROIMeasurementsAndQualitativeEvaluations) -> Finding:
    items = group.get_measurements()
    number = {item.name.value: float(item.value) for item in items}
    segment = group.referenced_segment
    site = group.finding_sites[0] if group.finding_sites else None
    side = f", {site.laterality.meaning.lower()}" if site is not None and site.laterality else ""
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
    )
