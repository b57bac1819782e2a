"""The patient of the course: the source's voxels in the source's place, as valid DICOM, the same everywhere."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.errors import DataError


@pytest.fixture(params=["story", "standin_story"])
def patient(request):
    return request.getfixturevalue(request.param)


def test_the_volume_read_back_is_the_source_voxel_for_voxel_in_the_same_place(patient):
    source, series = rk.data.read(patient.source), rk.dicom.read_series(patient.folder)
    assert series.array.dtype == np.int16 and np.array_equal(series.array, source.array)
    assert np.abs(series.affine - source.affine).max() < 1e-3
    far = [n - 1 for n in source.shape]
    assert np.abs(series.affine @ [*far, 1] - source.affine @ [*far, 1]).max() < 1e-3


def test_highdicom_reads_the_same_voxels_in_the_same_place(patient):
    source = rk.data.read(patient.source)
    theirs = hd.get_volume_from_series([dcmread(path) for path in patient.files], dtype=np.float32)
    theirs = theirs.to_patient_orientation("HPL")
    assert np.array_equal(theirs.array, source.array) and np.allclose(theirs.affine, source.affine, atol=1e-3)


@pytest.mark.slow
def test_dciodvfy_finds_no_error_in_any_slice_and_dcentvfy_none_between_them(patient, errors_of):
    assert len(patient.files) == 133
    assert not [error for path in patient.files for error in errors_of(path)]
    between = subprocess.run(["dcentvfy", *patient.files], capture_output=True, text=True)
    assert between.stdout + between.stderr == ""


def test_the_validator_would_have_said_so(small_ct, errors_of):
    broken = dcmread(small_ct.files[0])
    del broken.PixelSpacing
    assert any("PixelSpacing" in error for error in errors_of(broken))


def test_the_header_is_a_scanners_plainly_invented_and_carries_the_attribution(patient):
    ds = dcmread(patient.files[0], stop_before_pixels=True)
    assert (ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) == (CTImageStorage, ExplicitVRLittleEndian)
    assert (ds.BitsStored, ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleType) == (16, 1, -1024, "HU")
    assert ds.PatientID.startswith("RADKIT-") and str(ds.PatientName).startswith("RADKIT^")
    assert ds.StudyDate == "20240115" and date.today().strftime("%Y%m%d") not in str(ds)
    assert patient.source.attribution in ds.ImageComments and patient.source.licence in ds.ImageComments
    assert ds.PatientIdentityRemoved == "YES" and "ContrastBolusAgent" in ds
    assert ds.InstanceNumber == 1 and ds.ImagePositionPatient[2] == -10  # head first
    assert ds.PixelPaddingValue + ds.RescaleIntercept == -2048


def test_the_stand_in_says_so_in_its_title_and_in_every_header(standin_story):
    assert standin_story.stand_in and standin_story.title.startswith("STAND-IN (generated)")
    for path in standin_story.files[::50]:
        ds = dcmread(path, stop_before_pixels=True)
        assert (
            "STAND-IN" in ds.SeriesDescription and "STAND-IN" in ds.ImageComments and "STAND-IN" in str(ds.PatientName)
        )
        assert ds.QualityControlImage == "YES" and ds.ImageType[0] == "DERIVED"


def test_the_second_call_writes_nothing(standin_story):
    before = [path.stat().st_mtime_ns for path in standin_story.files]
    again = rk.data.story(stand_in=True)
    assert again == standin_story and [path.stat().st_mtime_ns for path in again.files] == before


def test_a_series_that_was_broken_off_is_written_whole(standin_story, tmp_path, monkeypatch):
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path))
    shutil.copytree(standin_story.source.folder, tmp_path / "stand-ins" / standin_story.source.folder.name)
    part = tmp_path / "story" / f"{standin_story.folder.name}.part"
    part.mkdir(parents=True)
    (part / "CT9999.dcm").write_bytes(b"half a file")
    mended = rk.data.story(stand_in=True)
    assert len(mended.files) == 133 and not part.exists()
    assert [path.read_bytes() for path in mended.files] == [path.read_bytes() for path in standin_story.files]


def test_uids_come_from_the_content_and_from_nothing_else(small_ct, tmp_path):
    def uids(name, volume=small_ct.volume, **header):
        images = [dcmread(path) for path in write_ct_series(volume, tmp_path / name, header=header)]
        assert len({image.SOPInstanceUID for image in images}) == len(images)
        return {image.StudyInstanceUID for image in images} | {image.SOPInstanceUID for image in images}

    first = uids("first")
    assert first == uids("again") and len(first) == 25
    assert (tmp_path / "first" / "CT0007.dcm").read_bytes() == (tmp_path / "again" / "CT0007.dcm").read_bytes()
    other = small_ct.volume.array.copy()
    other[3, 4, 5] += 1
    moved = small_ct.volume.affine + np.pad([[0.1]], ((0, 3), (3, 0)))
    assert first.isdisjoint(uids("voxel", small_ct.volume.with_array(other)))
    assert first.isdisjoint(uids("place", hd.Volume(small_ct.volume.array, moved, coordinate_system="PATIENT")))
    assert first.isdisjoint(uids("header", PatientID="RADKIT-0002"))


def test_a_series_may_join_a_study(small_ct, tmp_path):
    study = dcmread(small_ct.files[0]).StudyInstanceUID
    path = write_ct_series(small_ct.volume, tmp_path, header={"StudyInstanceUID": study, "SeriesNumber": 3})[0]
    joined = dcmread(path)
    assert joined.StudyInstanceUID == study and joined.SeriesInstanceUID != dcmread(small_ct.files[0]).SeriesInstanceUID


@pytest.mark.parametrize(
    ("array", "says"), [(np.full((2, 4, 4), 0.5), "whole HU"), (np.full((2, 4, 4), 40000), "40000")]
)
def test_what_does_not_fit_signed_16_bits_is_refused(array, says, tmp_path):
    with pytest.raises(DataError, match=says):
        write_ct_series(hd.Volume(array, np.eye(4), coordinate_system="PATIENT"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_turned_volume_keeps_its_place(small_ct, tmp_path):
    coronal = small_ct.volume.to_patient_orientation("PFL")
    write_ct_series(coronal, tmp_path)
    back = rk.dicom.read_series(tmp_path).to_patient_orientation("HPL")
    assert np.array_equal(back.array, small_ct.volume.array) and np.allclose(back.affine, small_ct.volume.affine)
