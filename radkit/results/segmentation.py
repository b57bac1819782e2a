"""DICOM SEG: a mask as an object of its own, coded, on the geometry of its images (PS3.3 A.51)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from .. import __version__
from ..dicom.series import Source
from ..errors import ResultError
from ._common import MANUFACTURER, TOLERANCE_MM, derived_uid, digest, finding_site, finish, misplaced, source_slices

NODULE = codes.SCT.Nodule
LESION = codes.SCT.MorphologicallyAbnormalStructure
ORANGE = hd.color.CIELabColor(70, 40, 70)


def write_segmentation(
    mask: hd.Volume,
    source: Source,
    *,
    label: int | None = None,
    names: Mapping[int, str] | None = None,
    category: Code = LESION,
    kind: Code = NODULE,
    site: str = "lung",
    algorithm: str = "radkit lung nodule",
    version: str = __version__,
    when: datetime.datetime | None = None,
) -> hd.seg.Segmentation:
    """Make a SEG of the labels in a mask; each label becomes a segment, frames without a voxel are left out.

    Parameters
    ----------
    mask : highdicom.Volume
        Integers, (slice, row, column), on the grid of the source; 0 is background.
    source : folder, list of paths or list of datasets
        The one image series that the mask was drawn on; patient, study and frame of reference come from it.
    label : int, optional
        Write this label alone; all of them unless given.
    names : mapping of int to str, optional
        ``SegmentLabel`` by label; "Nodule candidate 1", ... unless given.
    category, kind : pydicom.sr.coding.Code
        Segmented property category and type, SNOMED CT (PS3.16 CID 7150, CID 7159).
    site : str
        The anatomic region: "lung", "right upper lobe", ...
    algorithm, version : str
        What drew the mask.
    when : datetime.datetime, optional
        Date of the content; that of the images unless given, so that the same mask gives the same object any day.

    Returns
    -------
    highdicom.seg.Segmentation
        BINARY, as every archive takes it. UIDs follow from the content. ``save_as(path)`` writes it.

    Raises
    ------
    ResultError
        If the mask is empty, is not on the grid of the source, or the source lacks what a SEG must hold.
    """
    images = source_slices(source)
    cosines = [*mask.unit_vectors()[2], *mask.unit_vectors()[1]]
    corners = mask.map_indices_to_reference(np.arange(mask.spatial_shape[0])[:, None] * (1, 0, 0))
    place = (mask.frame_of_reference_uid, mask.spatial_shape[1:], mask.pixel_spacing, cosines, corners)
    if wrong := list(misplaced(images, *place)):
        raise ResultError(f"The mask does not fit its images: {'; '.join(wrong)}.")
    if label is not None:
        mask = mask.with_array(np.where(mask.array == label, mask.array, 0))
    labels = [int(value) for value in np.unique(mask.array) if value]
    if not labels or min(labels) < 0:
        sought = "whole numbers from 1 up" if label is None else f"label {label}"
        raise ResultError(f"Expected {sought} in the mask, found {labels or 'nothing but background'}.")
    content = (images[0].SeriesInstanceUID, digest(mask.array), algorithm, version, site, kind, names, when)
    region, _ = finding_site(site)
    identification = hd.AlgorithmIdentificationSequence(
        algorithm, codes.DCM.ArtificialIntelligence, version, MANUFACTURER
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=(names or {}).get(value, f"Nodule candidate {value}"),
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
            tracking_uid=derived_uid(*content, value),
            tracking_id=(names or {}).get(value, f"Nodule candidate {value}"),
            anatomic_regions=[region],
            display_color=ORANGE,
        )
        for number, value in enumerate(labels, start=1)
    ]
    try:
        segmentation = hd.seg.Segmentation(
            source_images=images,
            pixel_array=mask.with_array(_numbered(mask.array, labels)),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=derived_uid(*content, "SEG series"),
            series_number=900,  # behind what a scanner makes
            sop_instance_uid=derived_uid(*content, "SEG"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=algorithm,
            software_versions=version,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description=f"Segmentation by {algorithm}"[:64],
            series_description=f"Segmentation by {algorithm}"[:64],
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ResultError(f"No SEG can be made from these images: {error}") from error
    finish(segmentation, images, when)
    return segmentation


def _numbered(array: np.ndarray, labels: list[int]) -> np.ndarray:
    """Return labels as segment numbers: 1, 2, 3, ... without a gap."""
    number = np.zeros(max(labels) + 1, np.uint8 if len(labels) < 256 else np.uint16)
    number[labels] = np.arange(1, len(labels) + 1)
    return number[array]


def read_segmentation(segmentation: Dataset, *, like: hd.Volume | None = None) -> hd.Volume:
    """Read a SEG back into a mask.

    Parameters
    ----------
    segmentation : pydicom.Dataset
        A SEG of one or more segments that do not overlap.
    like : highdicom.Volume, optional
        The images: the mask is laid on their grid, voxel for voxel. Without it the mask holds just the slices from the
        first to the last that has a segment.

    Returns
    -------
    highdicom.Volume
        uint8, (slice, row, column), LPS mm; the value is the segment number.

    Raises
    ------
    ResultError
        If it is no SEG, its segments overlap, or its voxels are not those of ``like``.
    """
    if segmentation.get("Modality") != "SEG":
        raise ResultError(f"Expected a segmentation (SEG), got {segmentation.get('Modality', 'no modality')}.")
    try:
        mask = hd.seg.Segmentation.from_dataset(segmentation, copy=False).get_volume(
            combine_segments=True, dtype=np.uint8
        )
    except (AttributeError, RuntimeError, ValueError) as error:
        raise ResultError(f"This SEG cannot be read as a volume: {error}") from error
    if like is None:
        return mask
    if like.frame_of_reference_uid not in (None, mask.frame_of_reference_uid):
        raise ResultError("The SEG and the images lie in different frames of reference: it belongs to another scan.")
    try:
        return mask.match_geometry(like, tol=TOLERANCE_MM)
    except RuntimeError as error:
        raise ResultError(f"The voxels of the SEG are not those of the images: {error}") from error
