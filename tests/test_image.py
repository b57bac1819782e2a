"""read_image: every file of pydicom's two packages of test data, against pydicom, SimpleITK and dcmtk."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut

import radkit as rk
from radkit.dicom.image import read_image
from radkit.errors import DicomError

OURS = Path(pydicom.data.__file__).parent / "test_files"
MORE = Path(importlib.util.find_spec("data_store").origin).parent / "data"  # of pydicom-data
FILES = {p.relative_to(root).as_posix(): p for root in (OURS, MORE) for p in sorted(root.rglob("*")) if p.is_file()}

# Why a file is refused; every other file of the two packages must be read.
NO_DICOM = """ExplVR_BigEndNoMeta.dcm ExplVR_LitEndNoMeta.dcm OT-PAL-8-face.dcm README.txt crayons.icc no_meta.dcm
    dicomdirtests/README.txt dicomdirtests/TINY_ALPHA/README rtplan.dump rtstruct.dcm rtstruct.dump test1.json
    test_PN.json zipMR.gz"""
NO_PIXELS = """UN_sequence.dcm empty_charset_LEI.dcm no_meta_group_length.dcm priv_SQ.dcm reportsi.dcm
    reportsi_with_empty_number_tags.dcm rtplan.dcm test-SR.dcm waveform_ecg.dcm meta_missing_tsyntax.dcm
    nested_priv_SQ.dcm"""
REFUSED = {
    **dict.fromkeys(NO_DICOM.split(), "cannot be read as DICOM"),
    **dict.fromkeys(NO_PIXELS.split(), "missing: Rows"),
    **{name: "missing: Rows" for name in FILES if "DICOMDIR" in name or "TINY_ALPHA/PT" in name},
    "MR_truncated.dcm": "lacks 62 bytes of 8192",
    "rtplan_truncated.dcm": "lacks 265 bytes",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "cannot be read as DICOM",
    "badVR.dcm": "invalid literal for int",  # NumberOfFrames is no number
    "JPEG2000-embedded-sequence-delimiter.dcm": r"coded are \(1024, 3722445056, 1\)",  # and so says pydicom
}
READ = [name for name in FILES if name not in REFUSED and not name.endswith((".py", ".pyc"))]


def test_the_packages_hold_the_images_that_these_tests_are_about():
    assert len(READ) >= 156 and {"examples_palette.dcm", "RG1_UNCR.dcm", "dicomdirtests/77654033/CR1/6154"} <= set(READ)
    assert set(REFUSED) <= set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name in REFUSED])
def test_what_is_no_image_is_refused_with_its_reason(name):
    with pytest.raises(DicomError, match=REFUSED[name]) as caught:
        read_image(FILES[name])
    assert Path(name).name in str(caught.value)


def pydicoms(name: str, dataset: Dataset) -> np.ndarray:
    """Return pydicom's values after the modality transform, in 8 bits if they are in colour."""
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        if "OBXXXX1A_expb" in name:  # pydicom leaves the words of this table as they are in big endian (PS3.5 7.3)
            for colour in ("Red", "Green", "Blue"):
                words = dataset[f"{colour}PaletteColorLookupTableData"]
                words.value = np.frombuffer(words.value, ">u2").astype("<u2").tobytes()
        stored = apply_color_lut(stored, dataset)
        return stored >> 8 * (stored.itemsize - 1)
    if dataset.SamplesPerPixel == 3:
        return stored >> dataset.BitsStored - 8
    if name == "eCT_Supplemental.dcm":
        return stored - 1024.0  # pydicom passes over the rescaling in SharedFunctionalGroupsSequence (C.7.6.16.2.9)
    if "DoseGridScaling" in dataset:
        return stored * float(dataset.DoseGridScaling)  # pydicom leaves it to the reader (C.8.8.3)
    return apply_modality_lut(stored, dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_values_equal_pydicoms_and_geometry_simpleitks(name):
    image, dataset = read_image(FILES[name]), dcmread(FILES[name])
    expected = pydicoms(name, dataset)
    if expected.dtype.kind == "f":
        assert image.array.shape == expected.shape and np.allclose(image.array, expected, rtol=1e-6)
    assert expected.dtype.kind == "f" or np.array_equal(image.array, expected)
    shown = image.shown(frame=image.frames - 1)
    assert shown.dtype == np.uint8 and shown.shape == (dataset.Rows, dataset.Columns, 3)[: 2 + image.colour]
    check_geometry(name, image)


def check_geometry(name: str, image) -> None:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(FILES[name]))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        assert "rtdose" in name and "1frame" in name  # GDCM wants the frames of a dose grid
        return
    spacing = reader.GetSpacing()[1::-1]  # columns first
    if image.spacing and "SequenceOfUltrasoundRegions" in image.header:
        # The only scale of an ultrasound lies in its regions (C.8.5.5). GDCM passes over them.
        assert spacing == (1, 1) and image.spacing_of == "patient" and 0.2 < image.spacing[0] < 0.6
        return
    assert np.allclose(image.spacing or (1, 1), spacing, atol=1e-3)
    if "ImageOrientationPatient" in image.header:
        for letters, way in zip(image.directions, np.reshape(reader.GetDirection(), (3, 3)).T[:2], strict=True):
            axis = int(np.abs(way).argmax())
            assert letters[0] == ("LPH" if way[axis] > 0 else "RAF")[axis]


@pytest.mark.parametrize(
    "name", ["JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "SC_rgb_jpeg_gdcm.dcm", "bad_sequence.dcm"]
)
def test_lossless_jpeg_equals_simpleitks(name):  # pydicom alone cannot decode it: its values are our own plugin's
    assert np.array_equal(read_image(FILES[name]).array, sitk.GetArrayFromImage(sitk.ReadImage(FILES[name])).squeeze())


@pytest.mark.skipif(not shutil.which("dcmdjpeg"), reason="needs dcmtk")
@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_equals_dcmtks(tmp_path, name):  # GDCM refuses both
    subprocess.run(["dcmdjpeg", FILES[name], tmp_path / "plain.dcm"], check=True)
    assert np.array_equal(read_image(FILES[name]).array, dcmread(tmp_path / "plain.dcm").pixel_array)


def test_a_palette_is_the_same_in_either_byte_order():
    little, big = (read_image(FILES[f"gdcm-US-ALOKA-16{end}.dcm"]).array for end in ("", "_big"))
    assert np.array_equal(little, big) and little.std() > 20


def test_the_chest_radiograph_is_shown_with_bright_bone_and_dark_air():
    image = read_image(rk.data.fetch("chest-radiograph").files["image"])
    shown = image.shown()
    lungs, middle = shown[500:900, 400:600], shown[500:900, 900:1000]
    assert image.inverted and image.directions == ("L", "F") and image.modality == "CR"
    assert lungs.mean() + 30 < middle.mean()
