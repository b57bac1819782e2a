from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

import radkit as rk
from radkit.errors import DicomError


@pytest.fixture()
def slices(small_ct):
    return [dcmread(path) for path in small_ct.files]


def test_a_series_is_sorted_by_position_whatever_the_order_of_the_files(small_ct):
    shuffled = [small_ct.files[i] for i in np.random.default_rng(0).permutation(len(small_ct.files))]
    volume = rk.dicom.read_series(shuffled)
    assert volume.geometry_equal(small_ct.volume) and np.array_equal(volume.array, small_ct.volume.array)
    assert volume.array.dtype == np.int16 and volume.affine[2, 0] == 2.5  # from feet to head


def test_each_voxel_lies_where_highdicom_says_it_does(small_ct, slices):
    theirs = hd.get_volume_from_series(slices).to_patient_orientation("HPL")
    assert np.allclose(small_ct.volume.affine, theirs.affine, atol=1e-6)
    assert np.array_equal(small_ct.volume.array, theirs.array)
    assert small_ct.volume.frame_of_reference_uid == slices[0].FrameOfReferenceUID


@pytest.mark.parametrize("cosines", [[0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [-1, 0, 0, 0, -1, 0]])
def test_sagittal_coronal_and_prone_slices_keep_their_place(slices, cosines):
    normal = np.cross(cosines[:3], cosines[3:])
    for k, ds in enumerate(slices):
        ds.ImageOrientationPatient, ds.ImagePositionPatient = cosines, list(np.array([10, 20, 30]) + 2.5 * k * normal)
    volume = rk.dicom.read_series(slices[::-1])
    pixel = volume.affine @ (5, 7, 11, 1)
    theirs = np.array([10, 20, 30]) + 12.5 * normal + 0.7 * (7 * np.array(cosines[3:]) + 11 * np.array(cosines[:3]))
    assert np.allclose(pixel[:3], theirs)
    assert volume.array[5, 7, 11] == slices[5].pixel_array[7, 11] - 1024


def test_a_slope_for_every_slice_gives_float32(slices):
    slices[3].RescaleSlope = 0.5
    volume = rk.dicom.read_series(slices)
    assert volume.array.dtype == np.float32
    assert volume.array[20, 64, 64] == slices[3].pixel_array[64, 64] * 0.5 - 1024  # files count from the head


def _drop(slices):
    del slices[10]


def _double(slices):
    slices[4].ImagePositionPatient = slices[5].ImagePositionPatient


def _turn(slices):
    slices[4].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _tilt(slices):
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [-80, -45 + 0.3 * k, ds.ImagePositionPatient[2]]


def _mix(slices):
    slices[4].SeriesInstanceUID = "1.2.3"


def _shrink(slices):
    slices[4].Rows = 64


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop, "5.00 mm between -120.00 and -115.00 mm"),
        (_double, "one slice at each position, found 2 at -105.00 mm"),
        (_turn, "one ImageOrientationPatient in the series, found 2"),
        (_tilt, "gantry tilt of 6.8 degrees"),
        (_mix, "one series, found 2: .*23 × CT.*series_uid="),
        (_shrink, "one Rows in the series, found 2"),
    ],
)
def test_a_series_that_is_no_volume_is_refused_with_the_numbers(slices, damage, says):
    damage(slices)
    with pytest.raises(DicomError, match=says):
        rk.dicom.read_series(slices)


def test_a_folder_may_hold_other_things_and_a_named_file_may_not(small_ct, tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM")
    with pytest.raises(DicomError, match="found none"):
        rk.dicom.read_headers(tmp_path)
    with pytest.raises(DicomError, match=r"notes\.txt cannot be read"):
        rk.dicom.read_headers([tmp_path / "notes.txt"])
    (tmp_path / "deep").symlink_to(small_ct.folder)
    headers = rk.dicom.read_headers(small_ct.folder)
    assert len(headers) == 24 and not any("PixelData" in h for h in headers)


def test_one_of_several_series_is_read_by_its_uid(small_ct, slices):
    _mix(slices)
    assert rk.dicom.read_series(slices, series_uid="1.2.3").shape == (1, 128, 128)
