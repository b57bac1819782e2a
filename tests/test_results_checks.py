"""What `check` says of a result that does not fit its images: in words, and nothing of one that fits."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

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


def test_check_is_content_with_what_radkit_writes(written, small_ct):
    assert rk.results.check([again(written[0]), again(written[1])], small_ct.folder) == []
    assert rk.results.check(written[1], small_ct.folder) == []


def _other_frame(seg, sr):
    seg.FrameOfReferenceUID = "1.2.3"


def _shifted(seg, sr):
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[2] += 0.5


def _mirrored(seg, sr):
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def _one_slice_up(seg, sr):
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[2] += 2.5


def _other_study(seg, sr):
    sr.StudyInstanceUID = "1.2.3"


def _other_patient(seg, sr):
    seg.PatientID = "SOMEBODY"


def _number(sr):
    (item,) = [
        i for i in items(sr) if i.get("ValueType") == "NUM" and i.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
    ]
    return item.MeasuredValueSequence[0]


def _in_cubic_centimetres(seg, sr):
    _number(sr).MeasurementUnitsCodeSequence[0].CodeValue = "cm3"


def _without_unit(seg, sr):
    del _number(sr).MeasurementUnitsCodeSequence


def _no_such_segment(seg, sr):
    seg.SegmentSequence[0].SegmentNumber = 2


def items(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from items(child)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_other_frame, "another frame of reference"),
        (_shifted, "0.500 mm away from every image"),
        (_mirrored, "turned or mirrored"),
        (_one_slice_up, "do not name the image they lie on"),
        (_other_study, "report has another StudyInstanceUID"),
        (_other_patient, "segmentation has another PatientID"),
        (_in_cubic_centimetres, "a volume in cm3"),
        (_without_unit, "a volume without a unit"),
        (_no_such_segment, "measures segment 1, which the segmentation does not have"),
    ],
)
def test_check_says_in_words_what_is_wrong(written, small_ct, damage, says):
    segmentation, report = again(written[0]), again(written[1])
    damage(segmentation, report)
    wrong = rk.results.check([segmentation, report], small_ct.folder)
    assert any(says in sentence for sentence in wrong), wrong
    assert "SOMEBODY" not in str(wrong)


def test_check_sees_images_that_are_not_there(written, small_ct):
    wrong = rk.results.check([written[0], written[1]], small_ct.files[:12])
    assert any("refers to 12 images that are not in the series" in sentence for sentence in wrong), wrong
