"""The stand-ins: drawn from known shapes, so their truth is exact; read as the real ones are."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from pydicom import dcmread
from scipy import ndimage

import radkit as rk
from radkit.data import standins
from radkit.data.cache import catalog
from radkit.data.volumes import read_names
from radkit.errors import DataError

LESIONS = {"chest-ct": "nodule", "chest-ct-lung1": "labels", "chest-ct-lung2": "labels"}


@pytest.fixture(scope="module")
def chest():
    fetched = rk.data.fetch("chest-ct", stand_in=True)
    return rk.data.read(fetched), rk.data.read_labels(fetched), read_names(fetched)


def centre(mask):
    index = np.argwhere(mask.array).mean(axis=0)
    return (mask.affine @ [*index, 1])[:3]


def of(labels, *numbers):
    return labels.with_array(np.isin(labels.array, numbers))


@pytest.mark.parametrize("name", list(catalog()))
def test_a_stand_in_has_the_keys_and_formats_of_the_real_one(name):
    real = {path.partition("/")[0] for path in catalog()[name].files}
    fetched = rk.data.fetch(name, stand_in=True)
    generated = {path.relative_to(fetched.folder).as_posix() for path in fetched.files.values()}
    assert real <= generated
    assert fetched.title.startswith("STAND-IN")


@pytest.mark.parametrize("name", ["abdomen-ct-dicom", *(pytest.param(n, marks=pytest.mark.slow) for n in LESIONS)])
def test_it_is_the_same_to_the_byte_each_time_and_dated_nowhere(name, tmp_path):
    cached, built = rk.data.fetch(name, stand_in=True), standins.build(name, tmp_path)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert set(built) == set(cached.files) and files
    for path in files:  # if this fails though nothing is random, raise standins.VERSION: the cache holds older ones
        assert path.read_bytes() == (cached.folder / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize(("name", "key"), LESIONS.items())
def test_the_lesion_has_the_volume_and_the_place_that_its_truth_says(name, key):
    fetched = rk.data.fetch(name, stand_in=True)
    truth = json.loads(fetched.files["truth"].read_text())
    volume, mask = rk.data.read(fetched), rk.data.volumes.read_any(fetched.files[key])
    assert mask.geometry_equal(volume)
    slice_mm = volume.spacing[0]
    assert np.allclose(centre(mask), truth["centre_lps_mm"], atol=0.15 * slice_mm)
    # What a mask of half-filled voxels makes of it: close for thin slices, less so for a small lesion in thick ones.
    assert mask.array.sum() * mask.voxel_volume == pytest.approx(
        truth["volume_mm3"], rel=0.07 if slice_mm > 3 else 0.01
    )
    whole = np.argwhere(mask.array)
    assert abs(np.median(volume.array[tuple(whole.T)]) - 40) < 12


def test_the_nodule_is_as_large_as_the_real_one_and_lies_free_in_the_left_lower_lobe(chest):
    volume, labels, names = chest
    nodule = rk.data.volumes.read_any(rk.data.fetch("chest-ct", stand_in=True).files["nodule"])
    lower_lobe = next(number for number, name in names.items() if name == "lung_lower_lobe_left")
    assert standins.NODULE.volume_mm3 == pytest.approx(4 / 3 * np.pi * 11.8 * 11.0 * 11.3)
    assert 5500 < standins.NODULE.volume_mm3 < 6500
    assert (labels.array[nodule.array > 0] == lower_lobe).mean() > 0.95
    rim = ndimage.binary_dilation(nodule.array) & ~ndimage.binary_erosion(nodule.array)
    partial = (volume.array[rim] > -780) & (volume.array[rim] < -20)
    assert partial.mean() > 0.3  # its edge is averaged with the lung, as a scanner does


def test_the_body_lies_as_a_scanner_writes_it(chest):
    volume, labels, names = chest
    number = {name: n for n, name in names.items()}
    assert (volume.shape, volume.array.dtype) == ((133, 512, 512), np.int16)
    assert np.allclose(volume.spacing, (2.5, 0.703125, 0.703125)) and labels.geometry_equal(volume)
    assert centre(of(labels, number["heart"]))[0] > 10 and centre(of(labels, number["liver"]))[0] < -20  # L is plus
    assert centre(of(labels, number["vertebrae_T7"]))[1] > centre(of(labels, number["sternum"]))[1]  # P is plus
    assert centre(of(labels, number["trachea"]))[2] > centre(of(labels, number["kidney_left"]))[2]  # H is plus
    assert volume.affine[0, 2] > 0 and volume.affine[1, 1] > 0 and volume.affine[2, 0] > 0


@pytest.mark.parametrize(
    ("structure", "low", "high"),
    [("lung_upper_lobe_right", -900, -780), ("aorta", 260, 300), ("liver", 100, 115), ("spinal_cord", 10, 60),
     ("vertebrae_T8", 180, 500), ("rib_left_6", 200, 620), ("trachea", -1000, -850), ("spleen", 110, 140)],
)  # fmt: skip
def test_tissues_have_the_attenuation_of_the_living(chest, structure, low, high):
    volume, labels, names = chest
    number = next(n for n, name in names.items() if name == structure)
    assert low < np.median(volume.array[labels.array == number]) < high


def test_every_label_has_a_name(chest):
    _, labels, names = chest
    assert set(np.unique(labels.array)) - {0} <= set(names)
    assert len(np.unique(labels.array)) > 60


def test_the_dissected_aorta_has_a_brighter_true_lumen():
    fetched = rk.data.fetch("chest-ct-aorta", stand_in=True)
    volume, lumina = rk.data.read(fetched), rk.data.read_labels(fetched)
    assert set(np.unique(lumina.array)) == {0, 1, 2} and lumina.geometry_equal(volume, tol=1e-3)
    assert np.median(volume.array[lumina.array == 1]) - np.median(volume.array[lumina.array == 2]) > 80


def test_the_abdominal_series_is_valid_dicom_and_its_labels_lie_on_it(errors_of):
    fetched = rk.data.fetch("abdomen-ct-dicom", stand_in=True)
    files = sorted(fetched.files["series"].iterdir())
    assert len(files) == 20 and not [error for path in files for error in errors_of(path)]
    volume, labels = rk.data.read(fetched), rk.data.read_labels(fetched)
    assert np.allclose(volume.affine, labels.affine, atol=1e-3) and volume.shape == labels.shape
    assert 100 < np.median(volume.array[labels.array == 5]) < 115


def test_the_radiograph_is_valid_white_is_low_and_the_heart_is_on_the_viewers_right(errors_of):
    path = rk.data.fetch("chest-radiograph", stand_in=True).files["image"]
    film = dcmread(path)
    pixels = film.pixel_array.astype(float)
    assert errors_of(path) == [] and film.PhotometricInterpretation == "MONOCHROME1"
    rows, columns = pixels.shape
    assert pixels[rows // 3, columns // 4] > pixels[rows // 3, columns // 2] + 5000  # lung against mediastinum
    heart = pixels[int(0.5 * rows)]
    assert heart[int(0.65 * columns)] < heart[int(0.30 * columns)]


def test_the_brain_is_valid_and_oblique_as_the_real_one_and_its_lesion_is_in_front_on_the_left(errors_of):
    fetched = rk.data.fetch("brain-mr-dicom", stand_in=True)
    files = sorted(fetched.files["series"].iterdir())
    assert len(files) == 20 and not [error for path in files for error in errors_of(path)]
    brain = rk.data.read(fetched)
    assert np.allclose(brain.affine[:3, 1] / brain.pixel_spacing[0], (0, 0.990960, 0.134158), atol=1e-5)
    brightest = ndimage.gaussian_filter(brain.array.astype(float), 3).argmax()
    x, y, z = brain.map_indices_to_reference(np.array([np.unravel_index(brightest, brain.shape)]))[0]
    assert x > 20 and y < -10 and z > 15


@pytest.mark.parametrize("name", list(catalog()))
def test_whoever_opens_the_file_itself_is_told_too(name):
    fetched = rk.data.fetch(name, stand_in=True)
    path = fetched.files.get("image") or fetched.files.get("t1") or min(fetched.files["series"].iterdir())
    content = path.read_bytes()[:4000]
    first = zlib.decompressobj(31).decompress(content) if path.suffix == ".gz" else content
    assert b"STAND-IN" in first


def test_the_catalog_and_the_stand_ins_name_the_same_sources(tmp_path):
    with pytest.raises(DataError, match="chest-radiograph"):
        standins.build("head-ct", tmp_path)
    assert set(standins._BUILDERS) == set(catalog())


def test_a_radiograph_is_no_volume():
    with pytest.raises(
        DataError, match=r"a volume under image or series or t1 in chest-radiograph; it holds image \(image"
    ):
        rk.data.read(rk.data.fetch("chest-radiograph", stand_in=True))
