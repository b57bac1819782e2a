"""Images, files and series in the viewer: as their object has them, with their patient, in the mm that they know."""

import json

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

import radkit as rk
from radkit.errors import DicomError, ViewError
from radkit.view.images import scene_of

YELLOW = (240, 228, 66)
PATIENT = "RADKIT TEST"


@pytest.fixture
def film(small_ct, tmp_path):
    """Return a function that writes a gradient of 64 × 256 pixels, 1000 to 1255, with any header."""

    def write(**header):
        image = dcmread(small_ct.files[0])
        for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleType"):
            del image[keyword]
        del image.WindowCenterWidthExplanation, image.RescaleSlope, image.RescaleIntercept
        image.Modality, image.PixelRepresentation, image.Rows, image.Columns = "DX", 0, 64, 256
        image.WindowCenter, image.WindowWidth = 1128, 200
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PixelData = np.tile(np.arange(1000, 1256, dtype="<u2"), (64, 1)).tobytes()
        for keyword, value in header.items():
            setattr(image, keyword, value)
        image.save_as(tmp_path / "film.dcm")
        return tmp_path / "film.dcm"

    return write


def drawn(scene) -> np.ndarray:
    """Return the grays that the viewer gives the first frame, by what it tells the browser."""
    (center, width), (start, end) = scene.window, scene.reach
    at = (scene.array[0] - (center + start * width)) * (len(scene.levels) / ((end - start) * width))
    gray = np.array(scene.levels)[np.clip(at, 0, len(scene.levels) - 1).astype(int)]
    return 255 - gray if scene.inverted else gray


def steep_table() -> Dataset:
    """Return a VOI LUT that rises within a quarter of the values, from 1100 on."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [128, 1100, 8])
    item.add_new("LUTData", "OW", np.append(np.arange(0, 256, 4), np.full(64, 255)).astype("<u2").tobytes())
    return item


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", "table"])
def test_the_grays_are_those_of_the_standard(film, function, inverted):
    how = {"VOILUTSequence": [steep_table()]} if function == "table" else {"VOILUTFunction": function}
    image = rk.dicom.read_image(film(PhotometricInterpretation=f"MONOCHROME{1 if inverted else 2}", **how))
    assert np.ptp(image.shown()) > 200
    assert abs(drawn(scene_of(image)).astype(int) - image.shown()).max() <= (4 if function == "table" else 2)


def test_a_still_of_a_radiograph_is_inverted_and_says_what_its_mm_are(film):
    view = rk.view.show(film(PhotometricInterpretation="MONOCHROME1", ImagerPixelSpacing=[0.5, 0.5]))
    view.distances = [{"from": [0, 32, 40], "to": [0, 32, 200], "mm": 80.0}]
    still = view.still()
    row = np.asarray(still.image)[150, :, 0].astype(int)
    assert row[:200].mean() > 200 > 60 > row[-200:].mean()
    assert "80.0 mm at the detector" in still.text and "row 33, column 129" in still.text
    yellow = np.all(np.asarray(still.image) == YELLOW, axis=2)
    assert np.ptp(np.argwhere(yellow)[:, 1]) == pytest.approx(160 / 256 * 1168, abs=25)


def test_padding_is_black_and_an_overlay_is_named(film):
    path = film()
    image = dcmread(path)
    image.add_new("PixelPaddingValue", "US", 1200)
    bits = np.zeros((64, 256), np.uint8)
    bits[10:20, 10:50] = 1
    for element, vr, value in ((0x10, "US", 64), (0x11, "US", 256), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        image.add_new((0x6000, element), vr, value)
    image.add_new((0x6000, 0x0100), "US", 1)
    image.add_new((0x6000, 0x0102), "US", 0)
    image.add_new((0x6000, 0x1500), "LO", "marker")
    image.add_new((0x6000, 0x3000), "OW", np.packbits(bits, bitorder="little").tobytes())
    image.save_as(path)
    scene = scene_of(path)
    assert list(scene.names.values()) == ["marker"]
    assert np.array_equal(scene.labels[0] == 1, bits) and scene.value_text((0, 0, 200)) == "padding"
    assert (scene.labels[0, :, 200] == scene.padding).all() and scene.padding not in scene.names
    assert np.asarray(rk.view.still(path).image)[200, 16 + int(200.5 / 256 * 1168)].tolist() == [0, 0, 0]


def test_colour_and_frames(film):
    pixels = np.zeros((5, 16, 32, 3), np.uint8)
    pixels[3] = (10, 200, 30)
    colour = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0, "NumberOfFrames": 5}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Rows": 16, "Columns": 32, "PixelData": pixels.tobytes()}
    view = rk.view.show(film(**colour, **bits, FrameTime=40.0, PixelAspectRatio=[2, 1]), at=(3, 8, 16))
    still = view.still()
    assert np.all(np.asarray(still.image) == (10, 200, 30), axis=2).sum() > 100_000
    assert "frame 4 of 5" in still.text and "10, 200, 30" in still.text and "window" not in still.text
    assert view.description["frame_ms"] == 40 and view.description["scale"] == "not calibrated"
    assert view.description["spacing"] == (0.0, 2.0, 1.0), "a pixel twice as high as wide"
    with pytest.raises(ViewError, match=r"\(5, 0, 0\) lies outside"):
        rk.view.show(rk.dicom.read_image(film(**colour, **bits)), at=(5, 0, 0))


def test_a_path_a_list_a_series_and_a_dataset_are_read(small_ct, film):
    (series,) = rk.dicom.scan(small_ct.folder, progress=False).series
    scenes = [
        scene_of(given) for given in (small_ct.folder, small_ct.files, series, [dcmread(f) for f in small_ct.files])
    ]
    for scene in scenes:
        assert np.array_equal(scene.array, small_ct.volume.array) and scene.unit == "HU"
        assert scene.banner == (PATIENT, "ID RADKIT-TEST", "2024-01-15", "Chest")
    assert scene_of(small_ct.files[0]).is_flat and scene_of(dcmread(film())).is_flat
    assert scene_of(small_ct.volume).banner == ()
    with pytest.raises(DicomError):
        rk.view.show(small_ct.folder / "nothing.dcm")
    with pytest.raises(ViewError, match="with_array"):
        rk.view.show(small_ct.volume.array)


def test_a_modality_without_fixed_units_gets_windows_from_its_values(small_ct):
    values = small_ct.volume.with_array(np.linspace(0, 1000, small_ct.volume.array.size).reshape(small_ct.volume.shape))
    emission, magnetic = (scene_of(values, modality=modality) for modality in ("PT", "MR"))
    assert emission.presets["automatic"] == pytest.approx((495, 990), rel=0.01)
    assert set(magnetic.presets) == {"automatic", "all values", "bright", "dark"} and magnetic.unit == ""


def test_the_patient_is_seen_but_never_saved(small_ct):
    view = rk.view.show(small_ct.folder)
    bundle, _ = view._repr_mimebundle_()
    saved = json.dumps([view.get_state(), {**bundle, "image/png": ""}], default=repr)
    assert PATIENT not in saved and "RADKIT-TEST" not in saved and view.description["has_banner"]
    sent = []
    view.send = lambda message, buffers: sent.append(message)
    view._answer(view, {"radkit": "voxels, please", "ask": 0.5}, [])
    assert sent[0]["banner"][0] == PATIENT
    heights = [view.still(banner=banner).image.height for banner in (True, False)]
    assert heights[0] > heights[1] == rk.view.still(small_ct.folder).image.height


def test_a_hidden_patient_stays_hidden_until_asked_for(small_ct, monkeypatch):
    from radkit.view.widget import View

    monkeypatch.setattr(View, "_banner_chosen", True)
    view = rk.view.show(small_ct.folder)
    view.banner = False  # as the browser does
    assert [rk.view.show(small_ct.folder, banner=choice).banner for choice in (None, True, False)] == [
        False,
        True,
        False,
    ]


def test_what_is_done_in_the_browser_is_observed(small_ct):
    view, heard = rk.view.show(small_ct.volume), []
    view.observe(lambda change: heard.append((change["name"], change["new"])), names=["voxel", "window", "distances"])
    distance = {"from": view.point, "to": [0, 0, 0], "mm": 12.0}
    view.set_state({"voxel": [1, 2, 3], "window": [10.0, 20.0], "distances": [distance]})
    assert heard == [("voxel", [1, 2, 3]), ("window", [10, 20]), ("distances", [distance])]


def test_a_distance_is_drawn_in_its_own_plane_only(small_ct):
    view = rk.view.show(small_ct.volume)
    ends = [small_ct.volume.map_indices_to_reference(np.array([[12, 30, c]]))[0].tolist() for c in (20, 100)]
    view.distances = [{"from": ends[0], "to": ends[1], "mm": 56.0}]
    view.voxel = [12, 64, 64]
    yellow = np.all(np.asarray(view.still().image) == YELLOW, axis=2)
    assert yellow.sum() > 300 and np.argwhere(yellow)[:, 1].max() < 430, "in the axial plane, the left one"
    view.voxel = [13, 64, 64]
    assert not np.all(np.asarray(view.still().image) == YELLOW, axis=2).any()


@pytest.mark.filterwarnings("error")
def test_damaged_files_are_refused_in_words(small_ct, tmp_path):
    whole = small_ct.files[0].read_bytes()
    for number, damaged in enumerate(
        (whole[:200], whole[:-5000], b"no DICOM", whole.replace(b"ISO_IR 192", b"ISO_IR 999"))
    ):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(damaged)
        try:
            rk.view.still(path)
        except DicomError as error:
            assert path.name in str(error)
        else:
            assert number == 3, "only the one with an unknown character set can be shown"


def test_a_contour_of_an_image_is_in_frames_rows_and_columns(film):
    square = [(0, 4.6, 9.6), (0, 14.4, 9.6), (0, 14.4, 29.4), (0, 4.6, 29.4)]
    contours = [{"plane": "image", "slice": 0, "points": square}]
    view = rk.view.show(film(ImagerPixelSpacing=[0.5, 0.5]), contours=contours)
    assert view.drawn.shape == (1, 64, 256) and view.drawn[0, 5:15, 10:30].all() and view.drawn.sum() == 200
    assert "48.5 mm², longest 11.0 mm at the detector" in view.still().text
    assert "194.0 pixels², longest 22.1 pixels;" in rk.view.still(film(), contours=contours).text
