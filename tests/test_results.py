"""Results: sizes that are true, SEG and SR that a validator accepts and that come back as they were written."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from highdicom import Volume
from pydicom import dcmread
from pydicom.sr.codedict import codes
from scipy import ndimage

import radkit as rk
from radkit.errors import ResultError


@pytest.fixture(scope="module")
def written(small_ct):
    segmentation = rk.results.write_segmentation(small_ct.mask, small_ct.folder)
    measured = rk.results.measure(small_ct.mask)
    return (
        segmentation,
        rk.results.write_report(measured, small_ct.folder, segmentation, site="left lower lobe"),
        measured,
    )


def again(dataset):
    """The same object after a trip through a file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def volume(array, spacing=(2.5, 0.7, 0.7)):
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = *spacing, 1
    return Volume(array, affine, coordinate_system="PATIENT")


def ellipsoid(half_axes, spacing, turn=0.0):
    """A mask of an ellipsoid, (z, y, x) half axes in mm, turned about z."""
    z, y, x = (np.indices((32, 96, 96)) - np.array([16, 48, 48])[:, None, None, None]) * np.array(spacing)[
        :, None, None, None
    ]
    u, v = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
    return volume(
        ((z / half_axes[0]) ** 2 + (u / half_axes[1]) ** 2 + (v / half_axes[2]) ** 2 <= 1).astype(np.uint8), spacing
    )


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (1.0, 0.5, 0.9)])
def test_axes_and_volume_of_an_ellipsoid_are_true_to_a_pixel(turn, spacing):
    measured = rk.results.measure(ellipsoid((10, 12, 7), spacing, turn))
    assert measured.long_axis_mm == pytest.approx(24, abs=max(spacing[1:]))
    assert measured.short_axis_mm == pytest.approx(14, abs=max(spacing[1:]))
    assert measured.volume_mm3 == pytest.approx(4 / 3 * np.pi * 10 * 12 * 7, rel=0.03)
    assert measured.slice_index == 16


def test_the_short_axis_crosses_the_long_one_at_right_angles_in_the_same_slice():
    measured = rk.results.measure(ellipsoid((10, 12, 7), (2.5, 0.7, 0.7), 0.5))
    (a, b), (c, d) = (np.array(axis) for axis in (measured.long_axis, measured.short_axis))
    assert np.dot(b - a, d - c) == pytest.approx(0, abs=0.01)
    assert {a[2], b[2], c[2], d[2]} == {16 * 2.5}
    assert np.linalg.norm(b - a) == pytest.approx(measured.long_axis_mm, abs=0.01)


def test_a_rectangle_is_measured_by_its_drawn_corners():
    array = np.zeros((3, 20, 20), np.uint8)
    array[1, 5:9, 5] = 3  # four pixels in a column: from edge to edge 4 × 0.7 mm, one pixel wide
    measured = rk.results.measure(volume(array), label=3)
    assert measured.long_axis_mm == 2.8
    assert measured.short_axis_mm == 0.7
    assert measured.volume_mm3 == round(4 * 2.5 * 0.7 * 0.7, 1)
    assert measured.centroid == (5 * 0.7, 6.5 * 0.7, 2.5)


def test_measuring_refuses_a_label_that_is_not_there_and_slices_that_are_not_axial(small_ct):
    with pytest.raises(ResultError, match=r"Label 7 has no voxel.*the labels 1"):
        rk.results.measure(small_ct.mask, label=7)
    with pytest.raises(ResultError, match="not axial"):
        rk.results.measure(small_ct.mask.permute_spatial_axes([1, 0, 2]))


def test_the_validator_finds_no_error_in_seg_and_sr(written, errors_of):
    segmentation, report, _ = written
    assert errors_of(segmentation) == []
    assert errors_of(report) == []


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_a_mask_comes_back_voxel_for_voxel_on_the_grid_of_the_images(small_ct, form):
    segmentation = again(rk.results.write_segmentation(small_ct.mask, small_ct.folder, form=form))
    back = rk.results.read_segmentation(segmentation, like=small_ct.volume)
    assert back.geometry_equal(small_ct.volume)
    assert np.array_equal(back.array, small_ct.mask.array)
    there = {str(dcmread(path).ImagePositionPatient) for path in small_ct.files}
    places = {
        str(f.PlanePositionSequence[0].ImagePositionPatient) for f in segmentation.PerFrameFunctionalGroupsSequence
    }
    assert len(places) == small_ct.mask.array.any(axis=(1, 2)).sum()
    assert places <= there


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_slices_left_out_between_lesions_are_empty_again_without_the_images(small_ct, form):
    array = np.zeros(small_ct.volume.shape, np.uint8)
    array[2, 10:20, 10:15], array[6, 30:40, 9:12], array[20, 50:52, 7] = 1, 2, 3
    segmentation = again(rk.results.write_segmentation(small_ct.mask.with_array(array), small_ct.files, form=form))
    assert segmentation.NumberOfFrames == 3
    back = rk.results.read_segmentation(segmentation)
    assert np.array_equal(back.array, array[2:21])
    assert np.allclose(back.affine, small_ct.volume[2:21].affine, rtol=0, atol=1e-9)


def test_a_segment_says_by_name_what_it_is_of_what_sort_and_where(small_ct):
    array = small_ct.mask.array.copy()
    array[0, 0, :5] = 5, 6, 7, 8, 9
    kinds = {1: "mass", 5: "left kidney", 6: "fat", 7: "rectal balloon", 8: "white matter",
             9: codes.SCT.SkeletalMuscle}  # fmt: skip
    mask = small_ct.mask.with_array(array)
    with pytest.raises(ResultError, match="Skeletal muscle is not in DICOM's CID 7151: say its category"):
        rk.results.write_segmentation(mask, small_ct.folder, kind=kinds)
    segments = [
        rk.results.write_segmentation(mask, small_ct.folder, label=label, kind=kinds, site={1: "right upper lobe"},
                                      category="tissue" if label == 9 else None).SegmentSequence[0]
        for label in kinds
    ]  # fmt: skip
    assert [
        (s.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning, s.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for s in segments
    ] == [
        ("Morphologically Abnormal Structure", "4147007"),
        ("Anatomical Structure", "64033007"),
        ("Tissue", "55603005"),
        ("Physical object", "130120"),
        ("Anatomical Structure", "389080008"),
        ("Tissue", "127954009"),
    ]
    assert segments[0].AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    assert "AnatomicRegionSequence" not in segments[1]
    assert segments[1].SegmentLabel == "Left Kidney"


def test_a_name_without_a_code_is_refused_with_the_names_near_it(small_ct):
    with pytest.raises(ResultError, match=r"no kind 'nodul' in DICOM's CID 7151; near it: nodule"):
        rk.results.write_segmentation(small_ct.mask, small_ct.folder, kind="nodul")
    with pytest.raises(ResultError, match="none for label 1"):
        rk.results.write_segmentation(small_ct.mask, small_ct.folder, kind={2: "nodule"})
    with pytest.raises(ResultError, match='form="binary" or form="labelmap"'):
        rk.results.write_segmentation(small_ct.mask, small_ct.folder, form="fractional")


def test_a_finding_is_followed_by_its_tracking_identifier(written, small_ct):
    (before,) = rk.results.read_report(written[1])
    grown = small_ct.mask.with_array(ndimage.binary_dilation(small_ct.mask.array).astype(np.uint8))
    later = rk.results.write_segmentation(grown, small_ct.folder, tracking={1: before.tracking})
    report = rk.results.write_report(
        rk.results.measure(grown), small_ct.folder, later, qualitative={"response": "target lesion progressive disease"}
    )
    (after,) = rk.results.read_report(again(report))
    assert later.SOPInstanceUID != written[0].SOPInstanceUID
    assert after.tracking == before.tracking
    assert after.volume_mm3 > before.volume_mm3
    assert after.qualities == {"Current Response": "Target Lesion Progressive Disease"}


def test_the_axes_are_lines_on_the_image_where_they_were_measured(written, small_ct):
    (finding,) = rk.results.read_report(again(written[1]))
    at = {round(float(one.ImagePositionPatient[2]), 3): one for one in map(dcmread, small_ct.files)}
    for name, ends in (("Long axis", written[2].long_axis), ("Short axis", written[2].short_axis)):
        image, points = finding.regions[name]
        assert image == at[ends[0][2]].SOPInstanceUID
        index = small_ct.volume.map_reference_to_indices(np.array(ends))
        assert np.allclose(points, index[:, :0:-1] + 0.5, rtol=0, atol=2e-3)  # of a pixel; points have 0.001 mm


def test_a_line_that_lies_on_no_image_is_refused(written, small_ct):
    moved = replace(written[2], long_axis=tuple((x, y, z + 1) for x, y, z in written[2].long_axis))
    with pytest.raises(ResultError, match=r"1\.000 mm away from every image"):
        rk.results.write_report(moved, small_ct.folder, written[0])


@pytest.mark.parametrize("volume_mm3", [1e5 / 3, 2e-7 / 3, 123456789.123456789, 5e12 / 3])
def test_a_number_is_the_same_in_both_attributes_that_hold_it(written, small_ct, volume_mm3):
    report = rk.results.write_report(replace(written[2], volume_mm3=volume_mm3), small_ct.folder, written[0])
    value = _number(again(report))
    assert float(value.NumericValue) == value.FloatingPointValue == rk.results.read_report(report)[0].volume_mm3
    assert value.FloatingPointValue == pytest.approx(volume_mm3, rel=1e-9)


def test_key_objects_come_back_with_title_description_and_references(written, small_ct):
    segmentation, report, _ = written
    image = dcmread(small_ct.files[3])
    chosen = [image, segmentation, report]
    note = rk.results.write_key_objects(chosen, title="for conference", description="Größe?", source=small_ct.folder)
    found = rk.results.read_key_objects(again(note))
    assert (found.title, found.description) == ("For Conference", "Größe?")
    assert found.references == [(image.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID) for one in chosen]
    assert again(note) == again(rk.results.write_key_objects(chosen, title="for conference", description="Größe?"))
    assert note.PatientAge == image.PatientAge


def test_key_objects_refuse_two_studies_and_titles_without_a_code(written, small_ct):
    other = again(written[0])
    other.StudyInstanceUID = "1.2.3"
    with pytest.raises(ResultError, match="found 2 studies"):
        rk.results.write_key_objects([written[1], other])
    with pytest.raises(ResultError, match="no title 'pretty'"):
        rk.results.write_key_objects([written[1]], title="pretty")
    with pytest.raises(ResultError, match="best by what"):
        rk.results.write_key_objects([written[1]], title="best in set")
    with pytest.raises(ResultError, match="Expected a key object note"):
        rk.results.read_key_objects(written[1])


def _number(report):
    """The volume of the first group, as it stands in the file."""
    todo = [report]
    while todo:
        item = todo.pop(0)
        if item.get("ValueType") == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == "Volume":
            return item.MeasuredValueSequence[0]
        todo += item.get("ContentSequence", [])
    raise AssertionError("no volume")


def test_each_frame_lies_on_its_slice_for_a_reader_that_is_not_highdicom(written, small_ct):
    segmentation = again(written[0])
    slice_at = {round(small_ct.volume.affine[2] @ [k, 0, 0, 1], 3): k for k in range(24)}
    found = np.zeros_like(small_ct.mask.array)
    for bits, frame in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        found[slice_at[float(frame.PlanePositionSequence[0].ImagePositionPatient[2])]] = bits
    assert np.array_equal(found, small_ct.mask.array)


def test_two_segments_far_apart_keep_their_names_and_places(small_ct):
    array = np.zeros(small_ct.volume.shape, np.uint16)
    array[2:4, 30:40, 50:60], array[20:22, 90:95, 10:13] = 5, 2
    segmentation = rk.results.write_segmentation(
        small_ct.mask.with_array(array), small_ct.files, names={2: "second", 5: "fifth"}
    )
    assert [s.SegmentLabel for s in segmentation.SegmentSequence] == ["second", "fifth"]
    assert segmentation.NumberOfFrames == 4  # empty ones are left out
    back = rk.results.read_segmentation(again(segmentation), like=small_ct.volume)
    assert np.array_equal(back.array, np.select([array == 2, array == 5], [1, 2]))
    alone = rk.results.write_segmentation(small_ct.mask.with_array(array), small_ct.files, label=5)
    assert np.array_equal(rk.results.read_segmentation(alone, like=small_ct.volume).array, array == 5)
    with pytest.raises(ResultError, match="Expected label 3 in the mask"):
        rk.results.write_segmentation(small_ct.mask.with_array(array), small_ct.files, label=3)


def test_a_mask_in_another_slice_order_lands_on_the_same_images(small_ct):
    upside_down = small_ct.mask.flip_spatial(0)
    back = rk.results.read_segmentation(
        rk.results.write_segmentation(upside_down, small_ct.files), like=small_ct.volume
    )
    assert np.array_equal(back.array, small_ct.mask.array)


def test_a_mirrored_mask_is_refused_not_turned_in_silence(small_ct):
    with pytest.raises(ResultError, match="rows and columns run along"):
        rk.results.write_segmentation(small_ct.mask.flip_spatial(2), small_ct.files)


def test_a_report_says_that_nothing_was_found_and_in_which_images(small_ct):
    report = again(rk.results.write_report([], small_ct.folder, None, kind="nodule", site="lung"))
    (finding,) = rk.results.read_report(report)
    assert finding.absent and (finding.kind, finding.site) == ("Nodule", "Lung") and finding.volume_mm3 is None
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == len(small_ct.files)  # all that was looked at
    with pytest.raises(ResultError, match="the kind of what is absent"):
        rk.results.write_report([], small_ct.folder, None)


def test_images_are_no_segmentation(written, small_ct):
    with pytest.raises(ResultError, match="1 measurements, 1 sites, 0 segments: these do not pair up"):
        rk.results.write_report(written[2], small_ct.folder, dcmread(small_ct.files[0]))


def test_the_numbers_of_a_report_come_back_to_the_last_digit(written):
    segmentation, report, measured = written
    (finding,) = rk.results.read_report(again(report))
    for name in ("volume_mm3", "long_axis_mm", "short_axis_mm", "mean_diameter_mm"):
        assert getattr(finding, name) == getattr(measured, name)
    assert {unit for _, unit in finding.values.values()} == {"mm", "mm3"}
    assert (finding.kind, finding.site) == ("Nodule", "Lower lobe of lung, left")
    assert finding.segmentation_uid == segmentation.SOPInstanceUID
    assert finding.tracking_uid == segmentation.SegmentSequence[0].TrackingUID


def test_results_keep_the_patient_and_the_study_of_their_images(written, small_ct):
    image = dcmread(small_ct.files[0])
    for result in written[:2]:
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
                        "StudyDescription", "AccessionNumber", "PatientIdentityRemoved"):  # fmt: skip
            assert result[keyword].value == image[keyword].value, keyword
    assert written[0].FrameOfReferenceUID == image.FrameOfReferenceUID


def test_writing_twice_gives_the_same_bytes_and_other_content_another_uid(written, small_ct):
    segmentation, report, measured = written
    twice = rk.results.write_segmentation(small_ct.mask, small_ct.files[::-1])
    assert again(twice) == again(segmentation)
    assert again(rk.results.write_report(measured, small_ct.files, twice, site="left lower lobe")) == again(report)
    other = small_ct.mask.array.copy()
    other[0, 0, 0] = 1
    different = rk.results.write_segmentation(small_ct.mask.with_array(other), small_ct.files)
    assert different.SOPInstanceUID != segmentation.SOPInstanceUID


def test_writing_refuses_what_does_not_belong_together(written, small_ct):
    moved = Volume(small_ct.mask.array, small_ct.mask.affine + np.eye(4, k=3) * 0.3, coordinate_system="PATIENT")
    with pytest.raises(ResultError, match=r"shifted by 0\.3 mm toward the left"):
        rk.results.write_segmentation(moved, small_ct.folder)
    with pytest.raises(ResultError, match="nothing but background"):
        rk.results.write_segmentation(small_ct.mask.with_array(small_ct.mask.array * 0), small_ct.folder)
    with pytest.raises(ResultError, match="2 measurements, 2 sites, 1 segments"):
        rk.results.write_report([written[2]] * 2, small_ct.folder, written[0])
    with pytest.raises(ResultError, match="the segmentation of what was measured"):
        rk.results.write_report(written[2], small_ct.folder, None)
    with pytest.raises(ResultError, match="no site 'lingula'"):
        rk.results.write_segmentation(small_ct.mask, small_ct.folder, site="lingula")


def test_reading_refuses_what_is_something_else(written, small_ct):
    with pytest.raises(ResultError, match=r"Expected a segmentation \(SEG\), got CT"):
        rk.results.read_segmentation(dcmread(small_ct.files[0]))
    with pytest.raises(ResultError, match="Expected a Comprehensive 3D SR"):
        rk.results.read_report(written[0])
    elsewhere = Volume(
        small_ct.volume.array, small_ct.volume.affine, coordinate_system="PATIENT", frame_of_reference_uid="1.2"
    )
    with pytest.raises(ResultError, match="different frames of reference"):
        rk.results.read_segmentation(written[0], like=elsewhere)


def test_a_segmentation_beside_its_images_is_no_empty_mask(written, small_ct):
    affine = small_ct.volume.affine.copy()
    affine[:3, 3] += small_ct.volume.affine[:3, 0] * 1000  # a grid of the same voxels, 2.5 m further up
    above = Volume(small_ct.volume.array, affine, coordinate_system="PATIENT")
    with pytest.raises(ResultError, match="lies beside the images"):
        rk.results.read_segmentation(written[0], like=above)


def test_an_outline_drawn_by_a_person_is_not_called_an_algorithms(small_ct, errors_of):
    drawn = rk.results.write_segmentation(small_ct.mask, small_ct.files, algorithm="a mouse", by_hand=True)
    (segment,) = drawn.SegmentSequence
    assert segment.SegmentAlgorithmType == "MANUAL" and "SegmentationAlgorithmIdentificationSequence" not in segment
    assert errors_of(drawn) == []
