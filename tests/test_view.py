"""Looking: every orientation upright, the still picture says what it shows, and no voxel gets into a notebook."""

import base64
import io
import itertools
import json
import subprocess
import sys
import zlib

import numpy as np
import pytest
from highdicom import Volume
from PIL import Image

import radkit as rk
from radkit.errors import MissingDependency, ViewError
from radkit.view.images import scene_of
from radkit.view.scene import direction_letters

ORANGE = (230, 159, 0)  # the first structure's colour
ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "HF")) for letters in itertools.product(*axes)
]


@pytest.fixture
def marked() -> Volume:
    """A patient with one bright corner: left, anterior, at the head; 10 × 12 × 14 voxels of 3 × 2 × 1 mm."""
    array = np.random.default_rng(0).integers(-900, -700, (10, 12, 14)).astype(np.int16)
    array[7:, :4, 9:] = 1000
    affine = np.array([[0, 0, 1, -5], [0, 2, 0, 20], [3, 0, 0, -60], [0, 0, 0, 1]], float)
    return Volume(array, affine, coordinate_system="PATIENT")


def pixels(still) -> np.ndarray:
    return np.asarray(still.image)


def test_the_radiological_convention(marked):
    scene = scene_of(marked, at=(5, 22, -33))
    axial, coronal, sagittal = (plane.cut(scene.array, scene.voxel) > 0 for plane in scene.planes)
    assert axial[0, -1] and axial.sum() == 4 * 5  # anterior is up, and the patient's left is on the right
    assert coronal[0, -1] and coronal.sum() == 3 * 5  # the head is up
    assert sagittal[0, 0] and sagittal.sum() == 3 * 4  # the face looks to the left


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_order_of_the_array_shows_the_same_planes_and_letters(marked, orientation):
    usual, other = scene_of(marked), scene_of(marked.to_patient_orientation(orientation), at=(2, 32, -45))
    assert usual.point(usual.voxel) == other.point(other.voxel)
    for one, same in zip(usual.planes, other.planes, strict=True):
        assert np.array_equal(one.cut(usual.array, usual.voxel), same.cut(other.array, other.voxel))
        assert one.letters == same.letters
        assert one.position(usual.array.shape, usual.voxel) == same.position(other.array.shape, other.voxel)
    assert [plane.letters for plane in other.planes] == [tuple("RLAP"), tuple("RLHF"), tuple("APHF")]


def test_the_still_picture_is_the_same_for_a_reversed_sagittal_acquisition(marked):
    sagittal = marked.to_patient_orientation("RFP")
    options = {"at": (5, 22, -33), "title": "marked"}
    assert np.array_equal(pixels(rk.view.still(marked, **options)), pixels(rk.view.still(sagittal, **options)))


def test_an_oblique_volume_says_so_in_its_letters(marked):
    c, s = np.cos(np.pi / 9), np.sin(np.pi / 9)
    nod = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    axial, coronal, _ = scene_of(Volume(marked.array, nod @ marked.affine, coordinate_system="PATIENT")).planes
    assert axial.letters == ("R", "L", "AF", "PH")
    assert coronal.letters == ("R", "L", "HA", "FP")
    assert direction_letters(np.array([-3, 0, 0.1])) == "R"


def test_the_still_picture_shows_image_mask_and_sentence(small_ct, tmp_path):
    still = rk.view.still(small_ct.volume, small_ct.mask, names=["nodule"], preset="lung", title="Test patient")
    painted = pixels(still)
    assert painted.shape[1] == 1200 and len(np.unique(painted)) > 100
    assert np.all(painted == ORANGE, axis=2).sum() > 1000
    assert not np.all(pixels(rk.view.still(small_ct.volume)) == ORANGE, axis=2).any()
    assert "Test patient" in still.text and "overlay: nodule" in still.text and "W 1500 L -600 HU (lung)" in still.text
    assert Image.open(still.save(tmp_path / "still.png")).text["Description"] == still.text


def test_a_stand_in_is_set_off(small_ct):
    def top(title: str) -> tuple[int, ...]:
        return tuple(pixels(rk.view.still(small_ct.volume, title=title))[5, 1190])

    assert top("STAND-IN (generated): chest") == top("Returned · STAND-IN (generated): chest") == (240, 228, 66)
    assert top("A chest") != (240, 228, 66)


def test_zoom_enlarges_about_the_crosshair(small_ct):
    def orange(zoom: float) -> int:
        return int(np.all(pixels(rk.view.still(small_ct.volume, small_ct.mask, zoom=zoom)) == ORANGE, axis=2).sum())

    assert orange(2) > 1.5 * orange(1)


def test_the_bundle_has_picture_and_sentence_and_no_voxels(small_ct):
    view = rk.view.show(small_ct.volume, small_ct.mask)
    data, metadata = view._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert np.array_equal(np.asarray(picture), pixels(view.still()))
    assert data["text/plain"] == metadata["image/png"]["alt"] == view.still().text
    assert "application/vnd.jupyter.widget-view+json" in data
    assert len(json.dumps(view.get_state(), default=repr)) < 120_000


@pytest.mark.parametrize(("shift", "kind"), [(0, "int16"), (0.5, "float32"), (40_000, "uint16"), (100_000, "int32")])
def test_a_browser_that_asks_gets_every_voxel_once(small_ct, monkeypatch, shift, kind):
    volume = small_ct.volume.with_array(small_ct.volume.array + float(shift))
    view = rk.view.show(volume, small_ct.mask, at=volume.map_indices_to_reference(np.array([[20, 5, 5]]))[0])
    monkeypatch.setattr("radkit.view.widget.CHUNK", 200_000)
    sent = []
    monkeypatch.setattr(view, "send", lambda message, buffers: sent.append((message, bytes(buffers[0]))))
    for _ in range(2):
        view._answer(view, {"radkit": "voxels, please", "ask": 0.5}, [])
    received = np.full(volume.shape, np.nan)
    chunks = [(m, b) for m, b in sent if m["radkit"] == "voxels"]
    for message, data in chunks:
        k = message["slice"]
        received[k : k + message["slices"]] = np.frombuffer(data, kind).reshape(-1, *volume.shape[1:])
    assert np.array_equal(received, volume.array.astype(kind)) and len(chunks) > 3
    assert sum(message["slices"] for message, _ in chunks) == len(received)
    assert chunks[0][0]["slice"] <= 20 < chunks[0][0]["slice"] + chunks[0][0]["slices"]
    (labels,) = [zlib.decompress(data) for message, data in sent if message["radkit"] == "labels"]
    assert np.array_equal(np.frombuffer(labels, np.uint8).reshape(volume.shape), small_ct.mask.array)


def test_it_opens_at_the_largest_section_of_the_first_structure(marked):
    mask = np.zeros(marked.shape, np.uint16)
    mask[1, 1, 1] = mask[2, 0:3, 0:3] = 300
    mask[5] = 700
    view = rk.view.show(marked, mask, names={700: "table"})
    assert view.voxel == [2, 1, 1]
    assert view.point == (-4, 22, -54)
    assert [entry[1] for entry in view.description["structures"]] == ["label 300", "table"]


def test_windows_of_a_modality_without_units(marked):
    view = rk.view.show(marked.with_array(marked.array * 1e-3), modality="PT")
    assert view.description["unit"] == "" and view.description["presets"][0][0] == "automatic"
    assert view.window == rk.view.show(marked.with_array(marked.array * 1e-3), modality="PT", preset="automatic").window


def test_what_does_not_fit_together_is_refused_in_words(marked):
    elsewhere = marked[::-1].with_array(marked.array)
    channels = {"OpticalPathIdentifier": ["R", "G", "B"]}
    colours = Volume(np.zeros((4, 4, 4, 3), np.uint8), np.eye(4), coordinate_system="PATIENT", channels=channels)
    for message, volume, mask, options in (
        (r"\(10, 12, 14\).*\(10, 12, 13\)", marked, marked.array[:, :, 1:], {}),
        ("lies elsewhere.*match_geometry", marked, elsewhere, {}),
        ("whole numbers", marked, marked.array / 2, {}),
        ("whole numbers", marked, marked.array, {}),
        ("no window called 'lungs'.*lung", marked, None, {"preset": "lungs"}),
        ("width above 0", marked, None, {"window": (0, 0)}),
        ("outside of the volume", marked, None, {"at": (500, 0, 0)}),
        ("one number per voxel", colours, None, {}),
    ):
        with pytest.raises(ViewError, match=message):
            rk.view.show(volume, mask, **options)


def test_without_anywidget_the_error_holds_the_command(marked, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "radkit.view.widget", raising=False)
    with pytest.raises(MissingDependency, match=r"pip install 'radkit\[view\]'"):
        rk.view.show(marked)


def test_the_room_is_light():
    code = "import sys, radkit.view; print({'matplotlib', 'anywidget', 'PIL', 'highdicom'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_stopwatch_times_what_succeeds_and_draws_it(capsys):
    steps = rk.view.Stopwatch()
    with steps("Read the slices"):
        pass
    with pytest.raises(KeyError), steps("Fail"):
        raise KeyError
    steps.seconds |= {"A step with quite a long name": 75.25, "Query and check": 0.04}
    assert capsys.readouterr().out == "Read the slices: 0.0 s\n"
    chart = steps.chart()
    assert (
        chart.text.endswith("A step with quite a long name 75.2 s, Query and check 0.0 s.") and "Fail" not in chart.text
    )
    blue = np.all(pixels(chart) == (0, 0x72, 0xB2), axis=2).sum(axis=1)
    assert 0.3 < (blue.max() / chart.image.width) < 0.9
