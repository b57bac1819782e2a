"""What pydicom's packages lack, made here: windows, tables, palettes, overlays, padding, spacings, many frames."""

import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from test_decoding import dataset_of

from radkit.dicom.image import read_image
from radkit.errors import DicomError


def made(array: np.ndarray, **attributes) -> Dataset:
    """Return an image in memory with these attributes."""
    dataset = dataset_of(array)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def table(first: int, entries: list[int], bits: int, **more) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    item.update(more)
    return Sequence([item])


OVERLAY = get_testdata_file("examples_overlay.dcm")
RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024, "Modality": "CT"}


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("window", [(40, 400), (1, 1), (-600, 1500), (0.5, 2.5)])
def test_windows_are_those_of_the_standard(function, window):
    dataset = made(RAMP, **CT, WindowCenter=window[0], WindowWidth=window[1], VOILUTFunction=function, BitsStored=12)
    expected = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    image = read_image(dataset)
    assert np.abs(image.shown() - (expected + 1024) / 4095 * 255).max() <= 0.51
    assert image.windows == {"window 1": window, "full range": (1023.5, 4095.0)} and image.unit == "HU"


def test_a_negative_slope_does_not_turn_a_window_over():
    image = read_image(made(RAMP, RescaleSlope=-1, RescaleIntercept=0, WindowCenter=-2000, WindowWidth=1000))
    assert (
        image.shown()[0, 0] == 255 and image.shown()[-1, -1] == 0
    )  # pydicom: 0 at the top, as its output range is turned
    expected = apply_windowing(apply_modality_lut(RAMP, image.header), image.header)
    assert expected[0, 0] < expected[-1, -1]


def test_windows_have_names_and_the_full_range_leaves_padding_out():
    names = {
        "WindowCenterWidthExplanation": ["LUNG", "LUNG", ""],
        "WindowCenter": [-600, 40, 1],
        "WindowWidth": [1500, 400, 0],
    }
    image = read_image(made(RAMP, **CT, **names, PixelPaddingValue=0, PixelPaddingRangeLimit=99))
    assert list(image.windows) == ["LUNG", "LUNG 2", "full range"] and image.windows["full range"] == (1073.5, 3995.0)
    assert image.padding.sum() == 100 and not image.shown(window="full range")[image.padding].any()
    assert (
        np.array_equal(image.shown(), image.shown(window="LUNG"))
        and (image.shown(window=(-1000, 1)) == 255).sum() > 3900
    )


def test_padding_is_found_whichever_sign_it_was_written_with():
    signed = made(RAMP.astype(np.int16) - 2000)
    signed.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert read_image(signed).padding.sum() == 1


def test_black_and_white_are_inverted_once():
    image = read_image(made(RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"))
    assert image.inverted and image.shown()[0, 0] == 255 and image.shown()[-1, -1] == 0


def test_a_voi_lut_comes_before_a_window_and_equals_pydicoms():
    curve = (np.sqrt(np.arange(4096) / 4095) * 1023).astype(int).tolist()
    dataset = made(RAMP, VOILUTSequence=table(0, curve, 10), WindowCenter=100, WindowWidth=10)
    assert np.abs(read_image(dataset).shown() - apply_voi_lut(RAMP, dataset) / 1023 * 255).max() <= 0.51
    bytes_only = made(RAMP, VOILUTSequence=table(0, [min(i // 8, 255) for i in range(4096)], 8))
    assert (
        read_image(bytes_only).shown()[-1, -1] == 255 != apply_voi_lut(RAMP, bytes_only)[10, 0]
    )  # pydicom counts in bytes
    assert read_image(bytes_only).shown()[10, 0] == 80


def test_a_modality_lut_may_begin_below_zero():
    signed = (RAMP.astype(np.int32) * 16 - 32768).astype(np.int16)
    dataset = made(signed, ModalityLUTSequence=table(-2048, list(range(4096)), 16))
    image = read_image(dataset)
    assert np.array_equal(image.array, np.clip(signed.astype(int) + 2048, 0, 4095)) and image.array.max() == 4095
    assert apply_modality_lut(signed, dataset)[-1, -1] == 0  # pydicom counts in int16, where 32752 + 2048 wraps round


@pytest.mark.parametrize(
    ("slope", "intercept", "kind"),
    [(1, 0, "int16"), (1, 70000, "int32"), (16, 0, "uint16"), (2, -9000, "int16"), (0.5, 0, "float32")],
)
def test_values_are_exact_in_the_smallest_type(slope, intercept, kind):
    image = read_image(made(RAMP, RescaleSlope=slope, RescaleIntercept=intercept))
    assert image.array.dtype == kind and np.array_equal(image.array, RAMP * float(slope) + intercept)


def test_each_frame_of_an_enhanced_object_has_its_own_scale_and_window():
    frames = []
    for slope, center in ((1, 1000), (2, 3000)):
        scale, voi, groups = Dataset(), Dataset(), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept, voi.WindowCenter, voi.WindowWidth = slope, 0, center, 100
        groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [scale], [voi]
        frames.append(groups)
    image = read_image(made(np.stack([RAMP, RAMP]), PerFrameFunctionalGroupsSequence=Sequence(frames), FrameTime=40))
    assert np.array_equal(image.array[1], 2.0 * RAMP) and image.frames == 2 and image.frame_time_ms == 40
    assert [(image.shown(frame=i) > 127).sum() for i in (0, 1)] == [3096, 2596]
    with pytest.raises(DicomError, match="frame below 2"):
        image.shown(frame=2)


def add_overlay(dataset: Dataset, group: int, elements: dict) -> None:
    for element, value in elements.items():
        vr = {0x15: "IS", 0x50: "SS", 0x1500: "LO", 0x3000: "OW"}.get(element, "US")
        dataset.add_new((group, element), vr, value)


def test_overlays_are_placed_by_their_origin_and_taken_out_of_high_bits():
    dataset = made(RAMP | (RAMP > 4000) * np.uint16(0x8000), BitsStored=12, HighBit=11)
    add_overlay(dataset, 0x6000, {0x10: 64, 0x11: 64, 0x100: 16, 0x102: 15})
    add_overlay(dataset, 0x6002, {0x10: 8, 0x11: 16, 0x50: [-3, 57], 0x1500: "Lesion", 0x3000: b"\xff" * 16})
    add_overlay(dataset, 0x6004, {0x10: 8, 0x11: 16, 0x100: 1, 0x102: 0})  # which has no data
    image = read_image(dataset)
    assert list(image.overlays) == ["overlay 6000", "Lesion"]
    assert np.array_equal(image.overlays["overlay 6000"], RAMP > 4000) and image.array.max() == 4095
    assert image.overlays["Lesion"].sum() == 4 * 8 and image.overlays["Lesion"][:4, 56:].all()


def test_an_overlay_of_some_frames_lies_on_those():
    dataset = made(np.zeros((5, 8, 8), np.uint16))
    add_overlay(dataset, 0x6000, {0x10: 8, 0x11: 8, 0x15: 2, 0x51: 3, 0x3000: b"\x0f" * 16})
    (overlay,) = read_image(dataset).overlays.values()
    assert overlay.shape == (5, 8, 8) and overlay.any(axis=(1, 2)).tolist() == [False, False, True, True, False]
    assert overlay[2, :, :4].all() and not overlay[2, :, 4:].any()
    assert read_image(OVERLAY).overlays["overlay 6000"].sum() == int(dcmread(OVERLAY).overlay_array(0x6000).sum())


SAME, OTHER = (
    {"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]},
    {"PixelSpacing": [0.16, 0.08], "ImagerPixelSpacing": [0.2, 0.1]},
)


@pytest.mark.parametrize(
    ("attributes", "spacing", "of"),
    [
        ({"Modality": "DX", "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "detector"),
        ({"Modality": "DX", **SAME}, (0.2, 0.1), "detector"),
        ({"Modality": "DX", **OTHER}, (0.16, 0.08), "patient"),
        ({"Modality": "DX", **SAME, "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.1), "patient"),
        ({"Modality": "CR", "PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), ""),
        ({"Modality": "CR", "PixelSpacing": [0, 0]}, None, ""),
        ({"Modality": "MR", "PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "patient"),
        ({"Modality": "OT", "NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "detector"),
        ({"Modality": "US", "PixelAspectRatio": [2, 1]}, None, ""),
    ],
)
def test_a_spacing_is_of_the_patient_or_of_the_detector(attributes, spacing, of):
    image = read_image(made(RAMP, **attributes))
    assert (image.spacing, image.spacing_of) == (spacing, of)
    assert image.aspect == (2 if spacing or attributes["Modality"] == "US" else 1)


def region(delta: float, kind: int = 1) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = kind, 3, 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, -delta
    return item


@pytest.mark.parametrize(("regions", "spacing"), [([(0.02, 1), (0.5, 2)], (0.2, 0.2)), ([(0.02, 1), (0.03, 1)], None)])
def test_an_ultrasound_has_a_spacing_where_its_regions_agree(regions, spacing):
    dataset = made(RAMP, Modality="US", SequenceOfUltrasoundRegions=Sequence([region(*one) for one in regions]))
    assert read_image(dataset).spacing == spacing


def palette(bits: int, segmented: list[int] | None = None, entries: int = 256) -> Dataset:
    dataset = made(np.arange(256, dtype=np.uint8).reshape(16, 16), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        words = np.arange(entries) * 257 if segmented is None else np.array(segmented)
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [entries % 65536, 0, bits])
        name = f"{'Segmented' if segmented else ''}{colour}PaletteColorLookupTableData"
        dataset.add_new(name, "OW", words.astype(np.uint8 if bits == 8 else "<u2").tobytes())
    return dataset


# Discrete 0 0 0 0; linear to 100 in 100; the second again, from 100 back to 100; discrete; linear.
EIGHT_BITS = [0, 4, 0, 0, 0, 0, 1, 100, 100, 2, 1, 6, 0, 0, 0, 0, 1, 9, 1, 51, 60, 0]
SIXTEEN_BITS = [0, 2, 0, 0, 1, 200, 51200, 1, 54, 0]


@pytest.mark.parametrize(("bits", "segments"), [(8, EIGHT_BITS), (16, SIXTEEN_BITS), (16, None)])
def test_palettes_are_unfolded_as_pydicom_unfolds_them(bits, segments):
    dataset = palette(bits, segments)
    expected = apply_color_lut(dataset.pixel_array, dataset)
    assert np.array_equal(read_image(dataset).array, expected >> 8 * (bits == 16)) and expected.std() > 0


def test_a_segmented_palette_cannot_unfold_without_an_end():
    bomb = [0, 1, 0, *[1, 65535, 65535, 1, 65535, 0] * 100_000]
    assert read_image(palette(16, bomb, 65536)).array.shape == (16, 16, 3)
    with pytest.raises(DicomError, match="segment of unknown type 7"):
        read_image(palette(16, [0, 1, 0, 7, 7, 7, 7]))


@pytest.mark.parametrize("kind", ["HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "YBR_RCT", "XYZ"])
def test_colours_of_another_kind_are_refused_by_name(kind):
    colours = made(np.zeros((8, 8, 3), np.uint8), PhotometricInterpretation=kind)
    with pytest.raises(DicomError, match=f"of {kind} are no colours|Unknown"):
        read_image(colours)


def test_directions_come_from_the_plane_or_from_the_words():
    oblique = [0.9397, 0.342, 0, 0, 0, -1]
    assert read_image(made(RAMP, ImageOrientationPatient=oblique)).directions == ("LP", "F")
    assert read_image(made(RAMP, PatientOrientation=["A", "FR"])).directions == ("A", "FR")
    assert read_image(made(RAMP, PatientOrientation=["DOE", "JANE"])).directions is None


def test_an_image_says_what_it_is_and_not_whose():
    dataset = made(RAMP, PatientName="DOE^JANE", PatientID="4711", Modality="MR", PixelSpacing=[0.7, 0.7])
    image = read_image(dataset)
    assert repr(image) == "Image(MR, 64 × 64 int16, 0.7 × 0.7 mm (patient))"
    assert "PixelData" in dataset and "PixelData" not in image.header and image.header.PatientID == "4711"


def test_not_a_number_is_shown_black_and_warns_of_nothing(recwarn):
    dataset = dataset_of(np.array([[np.nan, 0.0], [0.5, 1.0]], np.float32))
    dataset.FloatPixelData = dataset.PixelData
    del dataset.PixelData
    assert read_image(dataset).shown().tolist() == [[0, 0], [128, 255]] and not recwarn.list
