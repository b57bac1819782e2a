"""What `check` says of a result that does not fit its images: in words, and nothing of one that fits."""

from __future__ import annotations

import subprocess
import sysconfig
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

import radkit as rk


@pytest.fixture(scope="module")
def written(small_ct):
    segmentation = rk.results.write_segmentation(small_ct.mask, small_ct.folder)
    measured = rk.results.measure(small_ct.mask)
    return segmentation, rk.results.write_report(measured, small_ct.folder, segmentation, site="left lower lobe")


def again(dataset):
    """The same object after a trip through a file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def items(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from items(child)


def item(report, meaning):
    """The first content item that has this name."""
    return next(
        i for i in items(report) if i.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeMeaning") == meaning
    )


def frames(seg):
    return seg.PerFrameFunctionalGroupsSequence


def place(seg, change):
    """Change where each frame lies."""
    corners = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames(seg)]
    for frame, corner in zip(frames(seg), change(np.array(corners, float)), strict=True):
        frame.PlanePositionSequence[0].ImagePositionPatient = corner.tolist()


def shift(seg, *mm):
    place(seg, lambda corners: corners + np.array(mm))


def turn(seg, cosines):
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = cosines


def swapped(corners):
    corners[[2, 3]] = corners[[3, 2]]
    return corners


def local(sequence):
    sequence[0].CodeValue, sequence[0].CodingSchemeDesignator = "1", "99RADKIT"


def test_check_is_content_with_what_radkit_writes(written, small_ct):
    assert rk.results.check([again(one) for one in written], small_ct.folder) == []
    assert rk.results.check(written[1], small_ct.folder) == []
    labelmap = rk.results.write_segmentation(small_ct.mask, small_ct.folder, form="labelmap")
    note = rk.results.write_key_objects(small_ct.files[9:12])
    absent = rk.results.write_report([], small_ct.folder, None, kind="nodule")
    assert rk.results.check([again(labelmap), again(note), again(absent)], small_ct.folder) == []


def volume_of(sr):
    return item(sr, "Volume").MeasuredValueSequence[0]


DAMAGE = {
    "another frame of reference": lambda seg, sr: setattr(seg, "FrameOfReferenceUID", "1.2.3"),
    "it is shifted by 0.5 mm toward the head.": lambda seg, sr: shift(seg, 0, 0, 0.5),
    "shifted by 5.1 mm toward the feet and 1.4 mm toward the left.": lambda seg, sr: shift(seg, 1.4, 0, -5.1),
    "2.5 mm toward the head: its frames name other images": lambda seg, sr: shift(seg, 0, 0, 2.5),
    "it is upside down: its slices run the other way": lambda seg, sr: place(seg, lambda c: c[::-1]),
    "2 of its 7 slices do not name the image they lie on": lambda seg, sr: place(seg, swapped),
    "slices lie up to 1.250 mm away from every image": lambda seg, sr: place(seg, lambda c: c * (1, 1, 1.1)),
    "it is mirrored left-right": lambda seg, sr: turn(seg, [-1, 0, 0, 0, 1, 0]),
    "it is mirrored front-back": lambda seg, sr: turn(seg, [1, 0, 0, 0, -1, 0]),
    "turned by half a turn in its slices": lambda seg, sr: turn(seg, [-1, 0, 0, 0, -1, 0]),
    "rows and columns are exchanged": lambda seg, sr: turn(seg, [0, 1, 0, 1, 0, 0]),
    "turned by 90.0°": lambda seg, sr: turn(seg, [1, 0, 0, 0, 0, -1]),
    "its slices are (128, 64) voxels, the images (128, 128)": lambda seg, sr: setattr(seg, "Columns", 64),
    "has 7 frames that name no image": lambda seg, sr: [frame.pop("DerivationImageSequence") for frame in frames(seg)],
    "cannot be laid on its images": lambda seg, sr: frames(seg)[3].pop("PlanePositionSequence"),
    "is fractional": lambda seg, sr: setattr(seg, "SegmentationType", "FRACTIONAL"),
    "does not refer to the series": lambda seg, sr: seg.pop("ReferencedSeriesSequence"),
    "segmentation has another PatientID": lambda seg, sr: setattr(seg, "PatientID", "SOMEBODY"),
    "gives segment 1 no tracking UID": lambda seg, sr: seg.SegmentSequence[0].pop("TrackingUID"),
    "category of segment 1, 'Morphologically Abnormal Structure' (1, 99RADKIT), that is not in DICOM's CID 7150": (
        lambda seg, sr: local(seg.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence)
    ),
    "has no type of segment 1": lambda seg, sr: seg.SegmentSequence[0].pop("SegmentedPropertyTypeCodeSequence"),
    "(1, 99RADKIT), that is not in DICOM's CID 4031": lambda seg, sr: local(
        seg.SegmentSequence[0].AnatomicRegionSequence
    ),
    "follows segment 1 by another tracking UID": lambda seg, sr: setattr(
        seg.SegmentSequence[0], "TrackingUID", "1.2.3"
    ),
    "measures segment 1, which the segmentation does not have": (
        lambda seg, sr: setattr(seg.SegmentSequence[0], "SegmentNumber", 2)
    ),
    "report has another StudyInstanceUID": lambda seg, sr: setattr(sr, "StudyInstanceUID", "1.2.3"),
    "a volume in cm3": lambda seg, sr: setattr(volume_of(sr).MeasurementUnitsCodeSequence[0], "CodeValue", "cm3"),
    "gives a volume of 30,000 mm³ to segment 1, which holds": (
        lambda seg, sr: setattr(volume_of(sr), "NumericValue", "30000")
    ),
    "a volume without a unit": lambda seg, sr: volume_of(sr).pop("MeasurementUnitsCodeSequence"),
    "has a title, 'Imaging Measurement Report' (1, 99RADKIT)": lambda seg, sr: local(sr.ConceptNameCodeSequence),
    "has a measurement, 'Long axis' (1, 99RADKIT)": lambda seg, sr: local(
        item(sr, "Long axis").ConceptNameCodeSequence
    ),
    "has a finding site, 'Lower lobe of lung' (1, 99RADKIT)": (
        lambda seg, sr: local(item(sr, "Finding Site").ConceptCodeSequence)
    ),
    "without a tracking UID": lambda seg, sr: item(sr, "Measurement Group").ContentSequence.pop(1),
    "neither segment, region nor image": lambda seg, sr: setattr(
        item(sr, "Measurement Group"), "ContentSequence", [item(sr, "Finding Site")]
    ),
    "objects it refers to as evidence": lambda seg, sr: sr.CurrentRequestedProcedureEvidenceSequence.clear(),
}


@pytest.mark.parametrize("says", DAMAGE)
def test_check_says_in_words_what_is_wrong(written, small_ct, says):
    segmentation, report = again(written[0]), again(written[1])
    DAMAGE[says](segmentation, report)
    wrong = rk.results.check([segmentation, report], small_ct.folder)
    assert any(says in sentence for sentence in wrong), wrong
    assert "SOMEBODY" not in str(wrong)


def test_check_sees_images_that_are_not_there(written, small_ct):
    wrong = rk.results.check(written, small_ct.files[:12])
    assert any("refers to 12 images that are not in the series" in sentence for sentence in wrong), wrong


def test_check_follows_a_key_object_note(small_ct):
    note = again(rk.results.write_key_objects(small_ct.files[9:12]))
    assert rk.results.check(note, small_ct.files[:10]) == ["The key object note refers to 2 objects that are not here."]
    local(note.ConceptNameCodeSequence)
    (wrong,) = rk.results.check(note, small_ct.folder)
    assert "has a title, 'Of Interest' (1, 99RADKIT), that is not in DICOM's CID 7010" in wrong


def test_check_understands_a_segmentation_of_another_maker(written, small_ct, tmp_path):
    written[0].save_as(tmp_path / "ours.dcm")
    there, back = (Path(sysconfig.get_path("scripts"), name) for name in ("segimage2itkimage", "itkimage2segimage"))
    subprocess.run([there, "--inputDICOM", tmp_path / "ours.dcm", "--outputDirectory", tmp_path], check=True)
    image, told, theirs = tmp_path / "1.nrrd", tmp_path / "meta.json", tmp_path / "theirs.dcm"
    command = [back, "--inputImageList", image, "--inputMetadata", told, "--skip", "1", "--outputDICOM", theirs]
    subprocess.run([*command, "--inputDICOMDirectory", small_ct.folder], check=True)
    segmentation = dcmread(theirs)
    assert rk.results.check(segmentation, small_ct.folder) == []
    shift(segmentation, 0, -3, 0)
    (wrong,) = rk.results.check(segmentation, small_ct.folder)
    assert "shifted by 3.0 mm toward the front" in wrong


def test_check_says_what_it_does_not_understand(written, small_ct):
    report = again(written[1])
    image = next(i for i in items(report) if i.get("ValueType") == "IMAGE")
    del image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    (wrong,) = rk.results.check(report, small_ct.folder)
    assert "lacks ReferencedSOPInstanceUID, or has it in a form not understood" in wrong


@pytest.mark.slow
def test_two_validators_find_no_error_in_any_result(small_ct, errors_of, pixelmed_errors_of):
    array = small_ct.mask.array * np.uint8(1)
    array[3:5, 60:66, 90:99] = 2
    mask = small_ct.mask.with_array(array)
    binary = rk.results.write_segmentation(mask, small_ct.folder, site={1: "left lower lobe", 2: "right lung"})
    labelmap = rk.results.write_segmentation(mask, small_ct.folder, form="labelmap")
    measured = rk.results.measure(mask, label=1)  # one lesion: Pixelmed's validator takes seconds for each group
    told = {"border shape": "spiculated", "content": "soft tissue"}
    report = rk.results.write_report(measured, small_ct.folder, binary, qualitative=told)
    note = rk.results.write_key_objects([*rk.dicom.read_headers(small_ct.files[9:12]), binary, report])
    results = [binary, labelmap, report, note]
    assert rk.results.check(results, small_ct.folder) == []
    assert [errors_of(result) for result in (binary, report, note)] == [[], [], []]
    # Label maps came to the standard in 2024 and number their background 0: Debian's dciodvfy knows neither.
    unknown = ("Error - Information Object Not found", "Error - SegmentNumber not monotonically increasing")
    assert all(error.startswith(unknown) for error in errors_of(labelmap))
    absent = rk.results.write_report([], small_ct.folder, None, kind="nodule", site="lung")
    assert errors_of(absent) == [] and rk.results.check(absent, small_ct.folder) == []
    named = again(note)  # as highdicom makes it: what TID 2010 points at has no name
    named.ContentSequence[-1].ConceptNameCodeSequence = report.ConceptNameCodeSequence
    *none, some = pixelmed_errors_of(report, absent, note, named)
    assert none == [[], [], []]
    assert len(some) == 1 and "Purpose of Reference (Concept) is forbidden" in some[0]
