"""Reading a series: sorted, checked, in modality units, in its place; held against pydicom, highdicom and SimpleITK."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import data_store
import highdicom as hd
import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from test_scan import double, drop, tilt, turn

import radkit as rk
from radkit.dicom._file import files_in, is_dicom
from radkit.errors import DicomError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest sets aside the filter of radkit.dicom
sitk.ProcessObject.SetGlobalWarningDisplay(False)


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


def _mix(slices):
    slices[4].SeriesInstanceUID = "1.2.3"


def _shrink(slices):
    slices[4].Rows = 64


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop, "5.00 mm between -120.00 and -115.00 mm"),
        (double, "one slice at each position, found 2 at -105.00 mm"),
        (turn, "one ImageOrientationPatient in the series, found 2"),
        (tilt, "gantry tilt of 6.8 degrees"),
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


# --- Truth: pydicom for values, SimpleITK (GDCM) for geometry


def simpleitk(files):
    """SimpleITK's array, and its affine from (slice, row, column) to LPS mm."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    image = reader.Execute() if len(files) > 1 else sitk.ReadImage(files[0])
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def pydicom_values(path):
    ds = dcmread(path)
    return ds.pixel_array * float(ds.get("RescaleSlope") or 1) + float(ds.get("RescaleIntercept") or 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["abdomen-ct-dicom", "brain-mr-dicom", "story"])
def test_a_real_series_has_the_values_of_pydicom_and_the_geometry_of_simpleitk(name, story):
    folder = story.folder if name == "story" else rk.data.fetch(name, progress=False).files["series"]
    volume = rk.dicom.read_series(folder)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    array, affine = simpleitk(files)
    assert np.allclose(volume.affine, affine, atol=1e-3, rtol=0)
    assert np.array_equal(volume.array, array)
    middle = len(files) // 2
    assert np.array_equal(volume.array[middle], pydicom_values(files[middle]))


def test_every_image_that_pydicom_ships_has_its_values_and_its_place():
    read, refused = [], set()
    roots = Path(pydicom.__file__).parent / "data/test_files", Path(data_store.__file__).parent / "data"
    for path in filter(is_dicom, [*files_in(roots[0]), *files_in(roots[1])]):
        header = dcmread(path, stop_before_pixels=True)
        if "ImagePositionPatient" not in header or header.Modality == "RTDOSE":
            continue
        try:
            volume = rk.dicom.read_series(path)
        except DicomError:
            refused.add(path.name)
            continue
        read.append(path)
        assert np.array_equal(volume.array[0], pydicom_values(path).astype(np.float32)), path
        _, affine = simpleitk([str(path)])
        assert np.allclose(volume.affine[:3, 1:], affine[:3, 1:], atol=1e-3, rtol=0), path
        # One slice: SimpleITK calls it 1 mm thick where SpacingBetweenSlices is missing, radkit takes SliceThickness.
        assert np.allclose(volume.unit_vectors()[0], affine[:3, 0] / np.linalg.norm(affine[:3, 0]), atol=1e-4), path
    assert len(read) > 40 and refused == {"MR_truncated.dcm"}


def test_an_enhanced_ct_lies_where_its_frames_say():
    path = str(Path(data_store.__file__).parent / "data/eCT_Supplemental.dcm")
    volume, ds = rk.dicom.read_series(path), dcmread(path)
    # SimpleITK keeps the order of the frames, in a left-handed image; radkit counts along the normal, here downwards.
    array, affine = simpleitk([path])
    assert np.array_equal(volume.array, array[::-1])
    assert np.allclose(volume.affine @ (1, 0, 0, 1), affine @ (0, 0, 0, 1), atol=1e-3)
    for groups, stored in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        index = volume.map_reference_to_indices(np.array([groups.PlanePositionSequence[0].ImagePositionPatient], float))
        assert np.array_equal(volume.array[round(index[0, 0])], stored.astype(int) - 1024)


# --- Kinds of objects


def enhanced(slices):
    """The series as one enhanced object, the frames from the head down, each with a rescale of its own."""
    ds = Dataset()
    ds.update({e.tag: e for e in slices[0] if e.tag not in (0x7FE00010, 0x00281052, 0x00281053, 0x00200032)})
    ds.file_meta = copy.deepcopy(slices[0].file_meta)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    ds.NumberOfFrames = len(slices)
    shared, ds.PerFrameFunctionalGroupsSequence = Dataset(), []
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = ds.ImageOrientationPatient
    shared.PixelMeasuresSequence[0].PixelSpacing = ds.PixelSpacing
    del ds.ImageOrientationPatient, ds.PixelSpacing
    ds.SharedFunctionalGroupsSequence = [shared]
    for k, source in enumerate(slices):
        groups = Dataset()
        groups.PlanePositionSequence, groups.PixelValueTransformationSequence = [Dataset()], [Dataset()]
        groups.PlanePositionSequence[0].ImagePositionPatient = source.ImagePositionPatient
        groups.PixelValueTransformationSequence[0].RescaleSlope = 1 + k % 2
        groups.PixelValueTransformationSequence[0].RescaleIntercept = -1024
        ds.PerFrameFunctionalGroupsSequence.append(groups)
    ds.PixelData = b"".join(source.PixelData for source in slices)
    return ds


@pytest.mark.parametrize("syntax", ["", "1.2.840.10008.1.2.5"])
def test_an_enhanced_object_has_a_rescale_for_every_frame(slices, tmp_path, small_ct, syntax):
    ds = enhanced(slices)
    if syntax:
        ds.compress(syntax)
    ds.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    volume = rk.dicom.read_series(tmp_path / "enhanced.dcm")
    assert volume.geometry_equal(small_ct.volume) and volume.array.dtype == np.int16
    for k, source in enumerate(slices):
        assert np.array_equal(volume.array[-1 - k], source.pixel_array.astype(int) * (1 + k % 2) - 1024)
    del ds.PerFrameFunctionalGroupsSequence[3:]
    with pytest.raises(DicomError, match="an item for each of NumberOfFrames"):
        rk.dicom.read_series([ds])


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_becomes_segment_numbers_on_the_grid_of_its_images(slices, small_ct, kind, tmp_path):
    described = [
        hd.seg.SegmentDescription(number, f"{number}", codes.SCT.Tissue, codes.SCT.Tissue,
                                  hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number in (1, 2)
    ]  # fmt: skip
    labels = small_ct.mask.array.astype(np.uint8)
    labels[:, :20] = 2
    pixels = labels if kind != "FRACTIONAL" else np.stack([labels == 1, labels == 2], -1) * 0.8
    seg = hd.seg.Segmentation(
        slices, small_ct.volume.with_array(pixels, channels={"SegmentNumber": [1, 2]} if pixels.ndim == 4 else None),
        kind, described, hd.UID(), 1, hd.UID(), 1, "radkit", "radkit", "1", "1", omit_empty_frames=False,
    )  # fmt: skip
    seg.save_as(tmp_path / "seg.dcm")
    volume = rk.dicom.read_series(tmp_path / "seg.dcm")
    assert volume.array.dtype.kind == "u" and np.array_equal(volume.array, labels)
    assert np.allclose(volume.affine, small_ct.volume.affine, atol=1e-3)
    assert rk.dicom.read_series([*slices, seg]).array.dtype == np.int16  # beside images it is left aside


def test_a_modality_lut_is_applied_and_colours_are_refused(slices):
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType, lut.LUTData = [4096, 0, 16], "US", (np.arange(4096)[::-1] // 2).tolist()
    for ds in slices:
        ds.ModalityLUTSequence = [lut]
        ds["ModalityLUTSequence"].value[0]["LUTDescriptor"].VR = ds.ModalityLUTSequence[0]["LUTData"].VR = "US"
        del ds.RescaleSlope, ds.RescaleIntercept
    volume = rk.dicom.read_series(slices)
    assert volume.array[-1, 5, 6] == (4095 - slices[0].pixel_array[5, 6]) // 2
    for ds in slices:
        ds.PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(DicomError, match="expected grey values, found PALETTE COLOR"):
        rk.dicom.read_series(slices)


# --- Transfer syntaxes, and the fast path against pydicom


ENCODERS = {
    "JPEGLSLossless": imagecodecs.jpegls_encode,
    "JPEGLosslessSV1": lambda values: imagecodecs.ljpeg_encode(values, bitspersample=16),
    "HTJ2KLossless": lambda values: imagecodecs.htj2k_encode(values, reversible=True),
}


@pytest.mark.parametrize(
    "syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian", "RLELossless",
               "JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessSV1", "HTJ2KLossless"]
)  # fmt: skip
def test_the_same_series_comes_out_of_every_transfer_syntax(slices, small_ct, tmp_path, syntax):
    uid = getattr(pydicom.uid, syntax)
    for k, ds in enumerate(slices):
        if syntax in ("RLELossless", "JPEG2000Lossless"):
            ds.compress(uid, generate_instance_uid=False)
        elif uid.is_encapsulated:
            ds.PixelData = pydicom.encaps.encapsulate([bytes(ENCODERS[syntax](ds.pixel_array.astype(np.uint16)))])
            ds["PixelData"].is_undefined_length = True
            ds["PixelData"].VR = "OB"
        elif syntax == "ExplicitVRBigEndian":
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = uid
        options = {} if uid.is_encapsulated or "Big" not in syntax else {"implicit_vr": False, "little_endian": False}
        pydicom.dcmwrite(tmp_path / f"{k}.dcm", ds, **options)
    volume = rk.dicom.read_series(tmp_path)
    assert np.array_equal(volume.array, small_ct.volume.array) and volume.geometry_equal(small_ct.volume)


def test_the_fast_path_and_pydicom_agree_on_bits_signs_and_slopes(slices, tmp_path):
    rng, path = np.random.default_rng(3), tmp_path / "a.dcm"
    for _ in range(200):
        ds = slices[0]
        ds.Rows, ds.Columns = (int(size) for size in rng.integers(2, 9, 2))
        ds.BitsStored = int(rng.choice([1, 8, 12, 15, 16]))
        ds.HighBit = ds.BitsStored - 1 if rng.random() < 0.9 else 15
        ds.PixelRepresentation = int(rng.integers(0, 2))
        ds.RescaleSlope = rng.choice(["1", "2", "-1", "0.5", "1.0e0", "1000"])
        ds.RescaleIntercept = rng.choice(["0", "-1024", "32767", "-0.25", "-32768 "])
        words = rng.integers(0, 65536, ds.Rows * ds.Columns, np.uint16)
        ds.PixelData = words.tobytes() + bytes(2 * (rng.random() < 0.1))
        ds.file_meta.TransferSyntaxUID = rng.choice(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
        pydicom.dcmwrite(path, ds)
        try:
            truth = pydicom_values(path)
        except ValueError:
            with pytest.raises(DicomError):
                rk.dicom.read_series(path)
            continue
        volume = rk.dicom.read_series(path)
        assert np.array_equal(volume.array[0], truth.astype(np.float32))
        whole = (truth == np.rint(truth)).all() and truth.min() >= -32768 and truth.max() <= 32767
        if float(ds.RescaleSlope).is_integer() and float(ds.RescaleIntercept).is_integer():
            assert (volume.array.dtype == np.int16) == whole


def test_a_damaged_slice_is_refused_or_read_as_pydicom_reads_it(slices, tmp_path):
    rng, path, refused = np.random.default_rng(5), tmp_path / "bad.dcm", 0
    slices[0].save_as(path)
    whole = path.read_bytes()
    for n in range(300):
        data = bytearray(whole)
        for at in rng.integers(128, 1200, 1 + n % 4):
            data[at] ^= 1 << rng.integers(0, 8)
        path.write_bytes(data[: rng.integers(500, len(data))] if n % 5 == 0 else data)
        try:
            volume = rk.dicom.read_series(path)
        except DicomError as error:
            assert "bad.dcm" in str(error) or "ImagePositionPatient, found none" in str(error)
            refused += 1
            continue
        assert np.array_equal(volume.array[0], pydicom_values(path).astype(np.float32))
    assert 50 < refused < 250


@pytest.mark.parametrize("claim", [{"Rows": 65535, "Columns": 65535}, {"PixelSpacing": [0, 0.7]}, {"PixelSpacing": ""},
                                   {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, {"RescaleSlope": [1, 2]},
                                   {"ImagePositionPatient": [1, 2, "1e999"]}, {"BitsAllocated": 0}])  # fmt: skip
def test_a_claim_that_cannot_be_is_refused_before_memory_is_taken(slices, tmp_path, claim):
    for keyword, value in claim.items():
        setattr(slices[0], keyword, value)
    slices[0].save_as(tmp_path / "bad.dcm")
    for source in (tmp_path / "bad.dcm", [slices[0]]):
        with pytest.raises(DicomError, match=re.escape(slices[0].filename if source == [slices[0]] else "bad.dcm")):
            rk.dicom.read_series(source)


# --- Resampling, when asked for by name


def ramp(volume):
    """A straight ramp through the patient: linear interpolation must not change it."""
    index = np.indices(volume.shape).reshape(3, -1).T
    return (volume.map_indices_to_reference(index) @ (0.9, -0.7, 3.1)).reshape(volume.shape)


def write_ramp(slices, places):
    for ds, place in zip(slices, places, strict=True):
        ds.ImagePositionPatient = [float(x) for x in place]
        row, column = np.mgrid[: ds.Rows, : ds.Columns] * 0.7
        ds.RescaleSlope, ds.RescaleIntercept = 0.05, -1600
        values = (0.9 * (place[0] + column) - 0.7 * (place[1] + row) + 3.1 * place[2] + 1600) / 0.05
        ds.PixelData = np.rint(values).astype(np.uint16).tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 0


def test_gaps_are_interpolated_when_asked(slices):
    heights = np.delete(np.arange(27) * 2.5, [7, 8, 20])
    write_ramp(slices, [(-40, -45, z) for z in heights])
    with pytest.raises(DicomError, match=r'7\.50 mm between 15\.00 and 22\.50 mm.*resample="gaps"'):
        rk.dicom.read_series(slices)
    volume = rk.dicom.read_series(slices, resample="gaps")
    assert volume.shape == (27, 128, 128) and np.allclose(volume.spacing, (2.5, 0.7, 0.7))
    assert np.abs(volume.array - ramp(volume)).max() < 0.06


def test_a_tilted_stack_is_straightened_when_asked(slices):
    write_ramp(slices, [(-40, -45 - 0.5 * k, 2.5 * k) for k in range(24)])
    with pytest.raises(DicomError, match=r'gantry tilt of 11\.3 degrees.*resample="tilt"'):
        rk.dicom.read_series(slices)
    volume = rk.dicom.read_series(slices, resample="tilt")
    assert volume.shape == (24, 128 + 17, 128) and np.allclose(volume.affine[:3, 3], (-40, -45 - 11.5, 0))
    off = np.abs(volume.array - ramp(volume))
    for k in range(24):  # 11.5 mm above the first slice, the last begins: that is 16.4 pixels
        top = (11.5 - 0.5 * k) / 0.7
        assert off[k, int(np.ceil(top)) : int(top) + 127].max() < 0.06
    with pytest.raises(DicomError, match='"gaps" or "tilt"'):
        rk.dicom.read_series(slices, resample="nearest")


def test_headers_are_enough_and_what_was_changed_in_them_holds(small_ct):
    headers = rk.dicom.read_headers(small_ct.folder)
    for header in headers:
        header.ImagePositionPatient = [0, *header.ImagePositionPatient[1:]]
    moved = rk.dicom.read_series(headers)
    assert np.array_equal(moved.array, small_ct.volume.array) and moved.affine[0, 3] == 0
