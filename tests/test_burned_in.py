"""Text in the pixels: found where it is, on real and on made images, refused, masked, never silently passed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

import radkit as rk
from radkit.dicom.burned_in import Box, warning_in

FONT = str(pytest.importorskip("matplotlib").get_data_path()) + "/fonts/ttf/DejaVuSans.ttf"


def written_on(image: np.ndarray, text: str, size: int, at: tuple[int, int], level: float) -> tuple[np.ndarray, Box]:
    """Write text at (row, column) of a grey image; ``level`` 0 is its darkest value, 1 its brightest."""
    mask = Picture.new("L", image.shape[::-1])
    font = ImageFont.truetype(FONT, size)
    ImageDraw.Draw(mask).text(at[::-1], text, font=font, fill=255)
    ink = np.asarray(mask) / 255
    rows, columns = np.nonzero(ink > 0.5)
    low, high = np.percentile(image, (1, 99.8))
    value = low + level * (high - low)
    done = (image * (1 - ink) + value * ink).astype(image.dtype)
    return done, Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def covered(boxes: list[Box], text: Box) -> float:
    """Return the share of the text that lies in boxes."""
    hidden = np.zeros((text.bottom, text.right), bool)
    for box in boxes:
        hidden[box.top : box.bottom, box.left : box.right] = True
    return float(hidden[text.top :, text.left :].mean())


@pytest.fixture(scope="module")
def slices(story) -> list[np.ndarray]:
    return [dcmread(file).pixel_array for file in sorted(story.files)[5::32]]


def backgrounds(slices) -> dict[str, np.ndarray]:
    files = {"radiograph": "RG3_UNCR.dcm", "MR": "MR2_UNCR.dcm", "small MR": "examples_overlay.dcm"}
    rng = np.random.default_rng(3)
    speckle = np.zeros((600, 800), np.uint8)
    speckle[120:520, 150:650] = np.clip(rng.rayleigh(38, (400, 500)), 0, 255)
    real = {name: dcmread(get_testdata_file(file)).pixel_array for name, file in files.items()}
    return {**real, "ultrasound": speckle, **{f"CT {number}": image for number, image in enumerate(slices)}}


@pytest.mark.slow
def test_text_is_found_on_every_kind_of_image_and_clean_images_stay_clean(slices):
    found, wrong = [], []
    for name, image in backgrounds(slices).items():
        wrong += [name] * bool(rk.dicom.find_text(image))
        small = max(image.shape) / 45
        for size, level in ((small, 1.0), (1.6 * small, 0.0), (2.5 * small, 1.0)):
            place = (8, 8) if level else (image.shape[0] // 2, image.shape[1] // 3)
            if level == 0.0 and image[place] < np.percentile(image, 40):
                level = 0.8  # nobody writes black on black
            text, box = written_on(image, "DOE^JOHN 1958-03-12", int(size), place, level)
            found.append((covered(rk.dicom.find_text(text), box), name, int(size)))
    assert [case for case in found if case[0] < 0.9] == []
    assert wrong == []


def test_a_real_ultrasound_console_is_found(tmp_path):
    boxes = rk.dicom.find_text(get_testdata_file("US1_UNCR.dcm"))
    assert len(boxes) > 10
    assert covered(boxes, Box(20, 10, 40, 150)) > 0.9  # the hospital's name


@pytest.mark.parametrize(
    ("attributes", "warns"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, False),
        ({"BurnedInAnnotation": "YES"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, True),
        ({"Modality": "CT", "ConversionType": "WSD"}, True),
        ({"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
    ],
)
def test_headers_that_make_one_expect_text(attributes, warns):
    header = Dataset()
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    assert bool(warning_in(header)) is warns


def with_text(file, path, text="DOE^JOHN 1958-03-12", uid="1.2.826.1"):
    """Copy an image with a name burned in."""
    dataset = dcmread(file)
    image, box = written_on(dataset.pixel_array, text, 9, (6, 6), 0.0)
    dataset.PixelData, dataset.SOPInstanceUID = image.tobytes(), uid
    dataset.save_as(path)
    return box


@pytest.mark.slow
def test_one_slice_with_text_has_its_whole_series_looked_at(small_ct, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, file in enumerate(small_ct.files):
        (folder / f"{number:02d}.dcm").write_bytes(file.read_bytes())
    for number in (4, 10):  # of the first ten only the first is looked at, and the eleventh gives it away
        with_text(small_ct.files[number], folder / f"{number:02d}.dcm", uid=f"1.2.826.{number}")
    report = rk.dicom.deidentify(folder, tmp_path / "out", progress=False)
    assert sorted(path.name for path in report.left_out) == ["04.dcm", "10.dcm"]
    assert report.written == len(small_ct.files) - 2 == len(list((tmp_path / "out").rglob("*.dcm")))
    assert report.pixels["looked at"] >= len(small_ct.files)


def test_a_clean_series_says_how_much_of_it_was_looked_at(small_ct, tmp_path):
    report = rk.dicom.deidentify(small_ct.folder, tmp_path / "out", progress=False)
    looked, rest = report.pixels["looked at"], report.pixels["not looked at, others of the series were"]
    assert looked == 3 and looked + rest == len(small_ct.files)
    assert f"{rest} images: not looked at" in str(report)


def test_masking_blacks_out_the_text_in_place_and_nothing_else(small_ct, tmp_path):
    box = with_text(small_ct.files[0], tmp_path / "in.dcm")
    before = dcmread(tmp_path / "in.dcm").pixel_array
    rk.dicom.deidentify(tmp_path / "in.dcm", tmp_path / "out", burned_in="mask", progress=False)
    after = dcmread(next((tmp_path / "out").rglob("*.dcm")))
    image = after.pixel_array
    assert (image[box.top : box.bottom, box.left : box.right] == before.min()).all()
    assert (image[60:] == before[60:]).all()
    assert after.BurnedInAnnotation == "NO"
    assert "113101" in {item.CodeValue for item in after.DeidentificationMethodCodeSequence}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["US1_J2KR.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "OBXXXX1A_2frame.dcm"]
)
def test_compressed_colour_and_palette_images_are_masked_in_every_frame(name, tmp_path, errors_of):
    source = get_testdata_file(name)
    kept = rk.dicom.deidentify(source, tmp_path / "refused", progress=False)
    assert list(kept.left_out.values()) == ["text in the pixels, found by looking"]
    report = rk.dicom.deidentify(source, tmp_path / "out", burned_in="mask", progress=False)
    assert report.pixels["text blacked out"] == 1
    written = next((tmp_path / "out").rglob("*.dcm"))
    boxes = rk.dicom.find_text(source)
    frames = np.atleast_3d(dcmread(written).pixel_array)
    frames = frames.reshape(-1, *frames.shape[-3:]) if frames.ndim == 4 else frames[None]
    for box in boxes:
        assert not frames[:, box.top : box.bottom, box.left : box.right].any()
    assert frames.any()
    assert len(rk.dicom.find_text(written)) < len(boxes) / 3
    assert not [line for line in errors_of(written) if "Photometric" in line or "Pixel" in line]


def test_keeping_is_said_loudly(small_ct, tmp_path):
    with_text(small_ct.files[0], tmp_path / "in.dcm")
    report = rk.dicom.deidentify(tmp_path / "in.dcm", tmp_path / "out", burned_in="keep", progress=False)
    assert report.written == 1 and "1 image: kept, nobody looked" in str(report)
