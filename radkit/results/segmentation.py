"""DICOM SEG: a mask as an object of its own, coded, on the geometry of its images (PS3.3 A.51)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pydicom.valuerep import DS

from .. import __version__
from ..dicom.series import Source
from ..errors import ResultError
from ._common import MANUFACTURER, derived_uid, finish, identity, making, source_slices
from .geometry import TOLERANCE_MM, misplaced
from .terms import KINDS, SITES, category_of, code_of, sided

LESION = codes.SCT.MorphologicallyAbnormalStructure
COLOURS = ("darkorange", "dodgerblue", "limegreen", "gold", "orchid", "turquoise")


def write_segmentation(
    mask: hd.Volume,
    source: Source,
    *,
    form: Literal["binary", "labelmap"] = "binary",
    label: int | None = None,
    names: Mapping[int, str] | None = None,
    kind: str | Code | Mapping[int, str | Code] = "nodule",
    category: str | Code | None = None,
    site: str | Code | Mapping[int, str | Code] | None = None,
    tracking: Mapping[int, tuple[str, str]] | None = None,
    algorithm: str = "radkit lung nodule",
    version: str = __version__,
    by_hand: bool = False,
    when: datetime.datetime | None = None,
) -> hd.seg.Segmentation:
    """Make a SEG of the labels in a mask; each label becomes a segment, slices without a voxel are left out.

    Parameters
    ----------
    mask : highdicom.Volume
        Integers, (slice, row, column), on the grid of the source; 0 is background.
    source : folder, list of paths or list of datasets
        The one image series that the mask was drawn on; patient, study and frame of reference come from it.
    form : "binary" or "labelmap"
        One bit a voxel and a frame for each segment and slice, as every archive takes it (PS3.3 A.51); or all segments
        of a slice in one frame, RLE compressed, the Label Map of 2024, which older archives refuse.
    label : int, optional
        Write this label alone; all of them unless given.
    names : mapping of int to str, optional
        ``SegmentLabel`` by label; "Nodule candidate 1", "Left Kidney", ... unless given.
    kind : str, Code, or mapping of label to either
        Segmented property type: a meaning in PS3.16 CID 7151, such as "nodule", "mass", "white matter", "left kidney";
        SNOMED CT for the most part. Any other as a pydicom ``Code``.
    category : str or Code, optional
        Its category (CID 7150), such as "tissue"; follows from ``kind`` where DICOM lists that.
    site : str, Code, or mapping of label to either, optional
        The anatomic region (CID 4031), such as "liver", "right upper lobe"; "lung" for a nodule unless given.
    tracking : mapping of int to (TrackingID, TrackingUID), optional
        By label, what this finding was called in an earlier study: `Finding.tracking` of its report. New unless given.
    algorithm, version : str
        What drew the mask, or what a person drew it with.
    by_hand : bool
        A person drew it: ``SegmentAlgorithmType`` MANUAL, and no algorithm is named in the segments.
    when : datetime.datetime, optional
        Date of the content; that of the images unless given: the same mask gives the same object any day.

    Returns
    -------
    highdicom.seg.Segmentation
        Each frame has the position of the image it was drawn on, digit by digit. UIDs follow from the content.
        ``save_as(path)`` writes it.

    Raises
    ------
    ResultError
        If the mask is empty, is not on the grid of the source, a name has no code, or the source lacks what a SEG must
        hold.
    """
    images = source_slices(source)
    if form not in ("binary", "labelmap"):
        raise ResultError(f'Expected form="binary" or form="labelmap", not {form!r}.')
    slices, drawn = _drawn_on(mask, images, label)
    array, labels = _numbered(slices, label)
    described = (names, kind, category, site, tracking)
    grid = (images[0].SeriesInstanceUID, [image.SOPInstanceUID for image in drawn], labels)
    content = (hashlib.sha256(array.data).hexdigest(), *grid, form, algorithm, version, by_hand, *described, when)
    software = hd.AlgorithmIdentificationSequence(algorithm, codes.DCM.ArtificialIntelligence, version, MANUFACTURER)
    maker = ("MANUAL", None) if by_hand else ("AUTOMATIC", software)
    segments = [_segment(n, value, derived_uid(*content, value), described, maker) for n, value in enumerate(labels, 1)]
    with making("SEG"):
        segmentation = hd.seg.Segmentation(
            source_images=drawn,  # of a lesion a few: highdicom's time grows with the square of their number
            pixel_array=array,
            segmentation_type=form.upper(),
            segment_descriptions=segments,
            transfer_syntax_uid=RLELossless if form == "labelmap" else ExplicitVRLittleEndian,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description=f"Segmentation by {algorithm}"[:64],
            **identity("SEG", 900, content, algorithm, version),  # behind what a scanner makes
        )
    segmentation.SourceImageSequence = _references(images)
    segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence = _references(images)
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = DS(mask.spacing[0], auto_format=True)  # where frames are left out, this tells
    finish(segmentation, images, when)
    return segmentation


def _drawn_on(mask: hd.Volume, images: list[Dataset], label: int | None) -> tuple[np.ndarray, list[Dataset]]:
    """The slices of a mask that hold a voxel (of ``label``), and the image that each lies on."""
    cosines = [*mask.unit_vectors()[2], *mask.unit_vectors()[1]]
    corners = mask.map_indices_to_reference(np.arange(mask.spatial_shape[0])[:, None] * (1, 0, 0))
    place = (mask.frame_of_reference_uid, mask.spatial_shape[1:], mask.pixel_spacing, cosines, corners)
    if wrong := list(misplaced(images, *place)):
        raise ResultError(f"The mask does not fit its images: {'; '.join(wrong)}.")
    if mask.array.dtype.kind not in "biu" or mask.array.ndim != 3:
        raise ResultError(f"Expected whole numbers (slice, row, column), got {mask.array.dtype} {mask.array.shape}.")
    array = mask.array if label is None else mask.array == label
    kept = np.flatnonzero(array.any(axis=(1, 2)))
    there = np.array([image.ImagePositionPatient for image in images], float)
    nearest = np.linalg.norm(corners[kept][:, None] - there, axis=-1).argmin(axis=1)
    return np.ascontiguousarray(array[kept]), [images[k] for k in nearest]


def _references(images: list[Dataset]) -> list[Dataset]:
    items = [Dataset() for _ in images]
    for item, image in zip(items, images, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return items


def _numbered(array: np.ndarray, label: int | None) -> tuple[np.ndarray, list[int]]:
    """Labels as segment numbers, 1, 2, 3, ... without a gap; and the labels in that order."""
    labels = [int(value) for value in np.unique(array[array != 0])] if label is None else [label] * bool(len(array))
    if not labels or not 0 < min(labels) <= max(labels) < 65536:
        sought = "whole numbers from 1 to 65535" if label is None else f"label {label}"
        raise ResultError(f"Expected {sought} in the mask, found {labels or 'nothing but background'}.")
    number = np.uint8 if len(labels) < 256 else np.uint16
    if label is not None or labels[-1] == len(labels):
        return array.astype(number, copy=False), labels
    table = np.zeros(labels[-1] + 1, number)
    table[labels] = np.arange(1, len(labels) + 1)
    return table[array], labels


def _segment(number: int, value: int, uid: str, described: tuple[Any, ...], maker: tuple[str, Any]) -> Any:
    """What a segment says of itself (PS3.3 C.8.20.4)."""
    names, kind, category, site, tracking = (one.get(value) if isinstance(one, Mapping) else one for one in described)
    if kind is None:
        raise ResultError(f"Expected a kind for each label, got none for label {value}.")
    what, side = sided(kind, "kind", KINDS)
    category = category_of(what) if category is None else code_of(category, "category", 7150)
    site = "lung" if site is None and what == codes.SCT.Nodule else site
    region, region_side = sided(site, "site", *SITES) if site is not None else (None, None)
    sort = f"{what.meaning} candidate {value}" if category == LESION else what.meaning
    name = names or (f"{side.meaning} {sort}" if side else sort)
    tracking_id, tracking_uid = tracking or (name, uid)
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=what,
        algorithm_type=maker[0],
        algorithm_identification=maker[1],
        tracking_id=tracking_id,
        tracking_uid=tracking_uid,
        anatomic_regions=[region] if region else None,
        display_color=hd.color.CIELabColor.from_string(COLOURS[(number - 1) % len(COLOURS)]),
    )
    if side:
        kinds = segment.SegmentedPropertyTypeCodeSequence
        kinds[0].SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(side)]
    if region_side:
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [hd.sr.CodedConcept.from_code(region_side)]
    return segment


def read_segmentation(segmentation: Dataset, *, like: hd.Volume | None = None) -> hd.Volume:
    """Read a SEG back into a mask.

    Parameters
    ----------
    segmentation : pydicom.Dataset
        A SEG, binary or label map, of one or more segments that do not overlap.
    like : highdicom.Volume, optional
        The images: the mask is laid on their grid, voxel for voxel. Without it the mask holds just the slices from the
        first to the last that has a segment.

    Returns
    -------
    highdicom.Volume
        uint8 (uint16 for more than 255), (slice, row, column), LPS mm; the value is the segment number.

    Raises
    ------
    ResultError
        If it is no SEG, its segments overlap, its voxels are not those of ``like``, or none of them lies there.
    """
    if segmentation.get("Modality") != "SEG":
        raise ResultError(f"Expected a segmentation (SEG), got {segmentation.get('Modality', 'no modality')}.")
    try:
        seg = hd.seg.Segmentation.from_dataset(segmentation, copy=False)
        dtype = np.uint8 if max(seg.segment_numbers) < 256 else np.uint16
        mask = seg.get_volume(combine_segments=True, dtype=dtype)
    except (AttributeError, RuntimeError, ValueError) as error:
        raise ResultError(f"This SEG cannot be read as a volume: {error}") from error
    if like is None:  # in the order of `read_series`: slices ascend along the normal of rows and columns
        down, column, row = mask.unit_vectors()
        return mask if np.cross(row, column) @ down > 0 else mask.flip_spatial(0)
    if like.frame_of_reference_uid not in (None, mask.frame_of_reference_uid):
        raise ResultError("The SEG and the images lie in different frames of reference: it belongs to another scan.")
    try:
        laid = mask.match_geometry(like, tol=TOLERANCE_MM)
    except RuntimeError as error:
        raise ResultError(f"The voxels of the SEG are not those of the images: {error}") from error
    if mask.array.any() and not laid.array.any():
        raise ResultError("The SEG lies beside the images, not one voxel in them: mirrored, or of another part.")
    return laid
