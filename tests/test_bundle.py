"""Bundles: what comes from elsewhere is read and never run; what is saved is complete and runs by MONAI alone."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
import pytest
from highdicom import Volume

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.data.volumes import write_nifti
from radkit.errors import ModelError

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
SHELF = ROOT / "data" / "bundles" / "lung_nodule"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle from elsewhere, honest so far."""
    return Path(shutil.copytree(SHELF, tmp_path / "bundle", ignore=shutil.ignore_patterns("*.ts")))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], name: str = "inference") -> None:
    path = folder / "configs" / f"{name}.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def transforms(config: dict[str, Any], side: str = "preprocessing") -> list[Any]:
    return config[side]["transforms"]


def cube(size: int = 24) -> Volume:
    hu = np.random.default_rng(0).normal(-850, 20, (size, size, size)).astype(np.int16)
    hu[8:14, 8:14, 8:14] = 20
    return Volume(hu, np.diag([1.5, 1.5, 1.5, 1.0]), coordinate_system="PATIENT")


def use(folder: Path, **options: Any) -> Volume:
    return rk.model.predict(cube(), rk.model.load_bundle(folder, **options), progress=False)


# --- code


ATTACKS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "an expression": lambda c, run: c["network_def"].update(in_channels=f"${run}"),
    "an expression in a transform": lambda c, run: transforms(c)[2].update(axcodes=f"${run}"),
    "an expression like a type": lambda c, run: transforms(c)[3].update(dtype=f"$torch.float32 if {run} else 0"),
    "an expression as the name": lambda c, run: c["inferer"].update(_target_=f"${run}"),
    "an expression behind a reference": lambda c, run: (c.update(x=f"${run}"), c["inferer"].update(mode="@x")),
    "a function by its name": lambda c, run: transforms(c).append({"_target_": "builtins.eval", "source": run}),
    "a way round the list": lambda c, run: transforms(c).append({"_target_": "monai.transforms.os.system"}),
    "a class of the module that is not on the list": lambda c, run: transforms(c).append(
        {"_target_": "Lambdad", "keys": "image", "func": f"${run}"}
    ),
    "a call in place of an object": lambda c, run: c["inferer"].update(_mode_="callable"),
    "a dependency": lambda c, run: c["network_def"].update(_requires_=f"${run}"),
    "another file": lambda c, run: c.update(network_def="%/tmp/other.json"),
    "a download": lambda c, run: c.update(network_def={"_target_": "HoVerNet", "pretrained_url": "https://x.example"}),
    "an absolute path": lambda c, run: c["inferer"].update(mode="/etc/passwd"),
    "a path upwards": lambda c, run: c["inferer"].update(mode=".."),
    "a root elsewhere": lambda c, run: c.update(bundle_root="/"),
    "a root above": lambda c, run: c.update(bundle_root="a/../.."),
    "a reference to itself": lambda c, run: (c.update(x="@x"), c["inferer"].update(mode="@x")),
    "references that multiply": lambda c, run: (
        c.update({f"x{n}": [f"@x{n + 1}"] * 60 for n in range(6)}, x6=1),
        c["inferer"].update(mode="@x0"),
    ),
    "an absurd number": lambda c, run: c["network_def"].update(channels=[10**9, 10**9]),
    "layers without end": lambda c, run: c["network_def"].update(num_res_units=4096),
    "an absurd list": lambda c, run: c["network_def"].update(strides=[2] * 1000),
    "depth": lambda c, run: c["inferer"].update(mode=json.loads("[" * 40 + "]" * 40)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_would_run_or_open_something_is_refused_and_named_and_nothing_happens(
    folder: Path, attack: str, tmp_path: Path
) -> None:
    trace = tmp_path / "it ran"
    edit(folder, lambda config: ATTACKS[attack](config, f"__import__('pathlib').Path({str(trace)!r}).touch() is None"))
    with pytest.raises(ModelError, match=r"inference\.json"):
        use(folder)
    assert not trace.exists()


def test_the_same_expression_runs_where_the_bundle_is_trusted(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    run = f"$0.125 if __import__('pathlib').Path({str(trace)!r}).touch() is None else 0"
    edit(folder, lambda config: config["inferer"].update(overlap=run))
    with pytest.raises(ModelError, match="trust=True") as refused:
        rk.model.load_bundle(folder)
    assert "inferer::overlap" in str(refused.value) and "it ran" in str(refused.value) and not trace.exists()
    assert use(folder, trust=True).array.any()
    assert trace.exists()


def test_code_that_a_prediction_does_not_need_stays_text(folder: Path, tmp_path: Path) -> None:
    run = f"$open({str(tmp_path / 'it ran')!r}, 'w')"
    edit(folder, lambda config: config.update(imports=[run], run=[run], device=run, network=run, output_dir=run))
    edit(folder, lambda config: config.update(initialize=[run], network_def=run), "train")
    assert use(folder).array.any()
    with pytest.raises(ModelError, match=r"train\.json, network_def"):
        rk.model.load_bundle(folder).config("train")
    assert not (tmp_path / "it ran").exists()


class Payload:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
def test_weights_that_are_a_program_are_refused(folder: Path, tmp_path: Path, old: bool) -> None:
    path = folder / "models" / "model.pt"
    torch.save({"weight": Payload(tmp_path / "it ran")}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ModelError, match="not run"):
        use(folder)
    assert not (tmp_path / "it ran").exists()
    torch.load(path, weights_only=False)  # so it was no dud
    assert (tmp_path / "it ran").exists()


def test_torchscript_from_elsewhere_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Writer(torch.nn.Module):
        def __init__(self, path: str):
            super().__init__()
            self.path = path

        def forward(self, image: torch.Tensor):
            torch.save(image, self.path)
            return image

    script = torch.jit.script(Writer(str(tmp_path / "it ran")))
    script.save(folder / "models" / "model.ts")
    assert use(folder).array.any() and not (tmp_path / "it ran").exists()
    (folder / "models" / "model.pt").write_bytes((folder / "models" / "model.ts").read_bytes())
    with pytest.raises(ModelError, match="not run"):
        use(folder)
    assert not (tmp_path / "it ran").exists()
    use(folder, trust=True)
    assert (tmp_path / "it ran").exists()


# --- damage


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "should hold an object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "1e999"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "' + "x" * 100_000_000 + '"}', "bytes"),
        ("\xff\xfe", "not JSON"),
    ],
    ids=["cut off", "a list", "NaN", "infinity", "overflow", "depth", "100 MB", "no text"],
)
@pytest.mark.parametrize("name", ["metadata", "inference"])
def test_json_that_is_none_is_said_plainly(folder: Path, name: str, text: str, reason: str) -> None:
    (folder / "configs" / f"{name}.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=rf"{name}\.json.*{reason}"):
        rk.model.load_bundle(folder)


@pytest.mark.parametrize("part", ["configs/inference.json", "models/model.pt", "LICENSE"])
def test_a_link_to_outside_is_refused(folder: Path, tmp_path: Path, part: str) -> None:
    (folder / part).rename(outside := tmp_path / "outside")
    with pytest.raises(ModelError, match=f"lacks {part}"):
        rk.model.load_bundle(folder)
    (folder / part).symlink_to(outside)
    with pytest.raises(ModelError, match="link to outside"):
        rk.model.load_bundle(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    edit(folder, lambda config: config["network_def"].update(in_channels=3))
    with pytest.raises(
        ModelError, match=r"weights of the network.*shape \(16, 3, 3, 3, 3\) and has \(16, 1, 3, 3, 3\)"
    ):
        use(folder)


@pytest.mark.parametrize(
    "change",
    [lambda w: w.to_sparse(), lambda w: w + 0j, lambda w: w.to("meta"), lambda w: w * torch.nan, lambda w: [1.0], None],
    ids=["sparse", "complex", "meta", "NaN", "a list", "no dict"],
)
def test_weights_that_are_no_numbers_are_refused(folder: Path, change: Callable[[Any], Any] | None) -> None:
    path = folder / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    if change is not None:
        weights |= {name: change(value) for name, value in weights.items() if value.dtype == torch.float32}
    torch.save(weights if change else [*weights.values()], path)
    with pytest.raises(ModelError, match=r"model\.pt"):
        use(folder)


@pytest.mark.parametrize(
    "wrong", [{"strides": [2]}, {"channels": "many"}, {"depth": 3}, {"channels": [4096] * 60, "strides": [2] * 59}]
)
def test_a_network_that_cannot_be_is_said_plainly(folder: Path, wrong: dict[str, Any]) -> None:
    edit(folder, lambda config: config["network_def"].update(wrong))
    with pytest.raises(ModelError):
        use(folder)


def test_a_bundle_that_opens_its_files_in_monai_s_newer_way_sees_the_same(folder: Path) -> None:
    before = use(folder).array
    edit(folder, lambda config: transforms(config).pop(1))
    edit(folder, lambda config: transforms(config)[0].update(ensure_channel_first=True))
    assert before.any() and np.array_equal(use(folder).array, before)


def test_channels_are_named_in_order_or_the_metadata_refused(folder: Path) -> None:
    assert rk.model.load_bundle(folder).channels == ("image",)
    for channels in ({}, {"0": 1}, {"1": "ct"}, {"0": "ct", "1": "pet"}, "ct"):
        edit(
            folder, lambda c, x=channels: c["network_data_format"]["inputs"]["image"].update(channel_def=x), "metadata"
        )
        with pytest.raises(ModelError, match="channel_def"):
            _ = rk.model.load_bundle(folder).channels


# --- saving


def study(number: int, names: tuple[str, ...]) -> SimpleNamespace:
    """A round lesion in a round body, in as many images as there are names; 3 x 2 x 2 mm."""
    rng, shape = np.random.default_rng(number), (12, 40, 48)
    s, r, c = (
        axis - centre for axis, centre in zip(np.indices(shape), rng.uniform(0.35, 0.65, 3) * shape, strict=True)
    )
    lesion = (1.5 * s) ** 2 + r**2 + c**2 < 36
    affine = np.array([[0, 0, 2.0, -48], [0, 2.0, 0, -40], [3.0, 0, 0, 5], [0, 0, 0, 1]])
    mask = Volume(lesion.astype(np.uint8), affine, coordinate_system="PATIENT")
    images = {
        name: mask.with_array((100 + 20 * n + lesion * 60 + rng.normal(0, 5, shape)).astype(np.int16))
        for n, name in enumerate(names)
    }
    return SimpleNamespace(patient=f"Secret^Name^{number}", images=images, mask=mask)


NAMES = {"brain-lesions": ("t1", "t2", "flair"), "chest-nodules": ("ct",)}
SCALING = {"_target_": "ScaleIntensityRanged", "a_min": 0.0, "a_max": 200.0, "b_min": -1.0, "b_max": 1.0, "clip": True}
RECIPES: dict[str, dict[str, Any]] = {
    "brain-lesions": {"patch": (32, 32, 1)},
    "chest-nodules": {"patch": (16, 16, 12), "spacing_mm": (2.0, 2.0, 3.0), "scaling": SCALING},
}
NETWORK = {"_target_": "UNet", "out_channels": 1, "channels": [8, 16], "strides": [2], "norm": "BATCH"}


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[Any, dict[str, Volume]]]:
    """A network by each recipe, small and soon done, and the images of the person held out."""
    done = {}
    for recipe, changes in RECIPES.items():
        studies = [study(number, NAMES[recipe]) for number in range(5)]
        small = {"network": NETWORK, "steps": 40, "batch": 8, "validate_every": 20, "progress": False, **changes}
        done[recipe] = rk.model.train(studies[:4], studies[4:], recipe=recipe, **small), studies[4].images
    return done


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_saved_bundle_needs_no_trust_and_sees_what_its_training_saw(trained, recipe: str, tmp_path: Path) -> None:
    training, images = trained[recipe]
    bundle = rk.model.save_bundle(training, tmp_path / "mine", name="Mine")
    assert bundle.channels == tuple(images) and not bundle.trust
    for probability in (False, True):
        ours, theirs = (
            rk.model.predict(images, x, probability=probability, progress=False) for x in (bundle, training)
        )
        assert ours.array.any() and np.array_equal(ours.array, theirs.array)
    script = torch.jit.load(str(bundle.model))
    shape = (1, len(bundle.channels), *training.recipe.patch[: training.recipe.dimensions])
    with torch.inference_mode():
        assert torch.equal(script(x := torch.rand(shape)), bundle.network()(x))


def test_the_metadata_validates_and_the_recipe_can_be_taken_up_again(trained, tmp_path: Path) -> None:
    from test_model import SCHEMA

    from radkit.model.recipes import Recipe

    jsonschema = pytest.importorskip("jsonschema")
    training, _ = trained["brain-lesions"]
    bundle = rk.model.save_bundle(training, tmp_path / "mine", name='A "quoted" {name}', version="1.2.0")
    jsonschema.validate(bundle.metadata, SCHEMA)
    assert bundle.metadata["name"] == 'A "quoted" {name}' and bundle.metadata["version"] == "1.2.0"
    assert bundle.metadata["network_data_format"]["inputs"]["image"]["channel_def"] == {
        "0": "t1",
        "1": "t2",
        "2": "flair",
    }
    train = json.loads((bundle.folder / "configs" / "train.json").read_text())
    assert (
        Recipe(**{**train["recipe"], "channels": tuple(train["recipe"]["channels"])}).config == training.recipe.config
    )


def test_the_card_says_what_was_done_and_leaves_the_rest_openly_blank(trained, tmp_path: Path) -> None:
    training, _ = trained["chest-nodules"]
    bare = rk.model.save_bundle(training, tmp_path / "bare", name="Mine").card
    assert bare.count("not answered") >= 7 and "Not for clinical use" in bare
    for said in ("seed 0", "40 of 40 steps", f"{training.facts['mean_dice']:.2f}", "n = 1", "| learnt from | 4 | 4 |"):
        assert said in bare
    sheet = rk.model.save_bundle(
        training,
        tmp_path / "full",
        name="Mine",
        intended_use="Lessons.",
        failures="At night.",
        data_sheet="# Sheet {x}",
    )
    assert "Lessons." in sheet.card and "At night." in sheet.card and "(data_sheet.md)" in sheet.card
    assert (sheet.folder / "docs" / "data_sheet.md").read_text() == "# Sheet {x}"
    assert "No licence" in (sheet.folder / "LICENSE").read_text()
    with pytest.raises(ModelError, match="intended_use"):
        rk.model.save_bundle(training, tmp_path / "typo", name="Mine", intended_usage="Lessons.")


def test_no_person_and_no_folder_of_this_machine_is_named(trained, tmp_path: Path) -> None:
    training, _ = trained["chest-nodules"]
    training.facts["folder"] = str(tmp_path / "training")
    bundle = rk.model.save_bundle(training, tmp_path / "mine", name="Mine")
    files = [path for path in bundle.folder.rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        parts = [path.read_bytes()]
        if is_zipfile(path):
            with ZipFile(path) as archive:
                parts += [archive.read(name) for name in archive.namelist()]
        for secret in (b"Secret", str(tmp_path).encode(), b"site-packages"):
            assert not any(secret in part for part in parts), path


def test_a_bundle_is_replaced_only_when_asked_and_nothing_else_ever(trained, tmp_path: Path) -> None:
    training, _ = trained["chest-nodules"]
    rk.model.save_bundle(training, tmp_path / "mine", name="First")
    with pytest.raises(ModelError, match="overwrite=True"):
        rk.model.save_bundle(training, tmp_path / "mine", name="Second")
    assert rk.model.save_bundle(training, tmp_path / "mine", name="Second", overwrite=True).metadata["name"] == "Second"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(ModelError, match="no bundle"):
        rk.model.save_bundle(training, tmp_path / "thesis", name="Mine", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "thesis"]


@pytest.mark.parametrize("step", ["torch.save", "radkit.model.saving.load_bundle", "pathlib.Path.replace"])
def test_an_interrupt_leaves_the_old_bundle_and_nothing_half(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    training, _ = trained["chest-nodules"]
    rk.model.save_bundle(training, tmp_path / "mine", name="First")

    def stop(path: Any, *_: Any, **__: Any) -> None:
        if step != "pathlib.Path.replace" or path.name == "new":
            raise KeyboardInterrupt
        path.rename(_[0])

    with monkeypatch.context() as patch:
        patch.setattr(step, stop)
        for name in ("mine", "other"):
            with pytest.raises(KeyboardInterrupt):
                rk.model.save_bundle(training, tmp_path / name, name="Second", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert rk.model.load_bundle(tmp_path / "mine").metadata["name"] == "First"


def test_a_network_that_diverged_or_a_step_that_runs_code_is_not_saved(trained, tmp_path: Path) -> None:
    training, _ = trained["chest-nodules"]
    broken = copy.deepcopy(training)
    torch.nn.init.constant_(next(broken.network.parameters()), torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        rk.model.save_bundle(broken, tmp_path / "mine", name="Mine")
    odd = replace(training, recipe=replace(training.recipe, scaling={"_target_": "Lambdad", "func": "$abs"}))
    with pytest.raises(ModelError, match="Lambdad"):
        rk.model.save_bundle(odd, tmp_path / "mine", name="Mine")
    assert not list(tmp_path.iterdir())


def seen(folder: Path) -> np.ndarray:
    """The mask that MONAI wrote, axes to the right, to the front, to the head."""
    nibabel = pytest.importorskip("nibabel")
    (written,) = folder.glob("*_mask.nii.gz")
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(written)).dataobj)


@pytest.mark.slow
def test_monai_alone_runs_a_bundle_of_three_channels_on_files_and_sees_the_same(trained, tmp_path: Path) -> None:
    training, images = trained["brain-lesions"]
    bundle = rk.model.save_bundle(training, tmp_path / "mine", name="Mine")
    files = [str(write_nifti(tmp_path / f"{name}.nii.gz", volume)) for name, volume in images.items()]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--image", str(files), "--output_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=bundle.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    ours = rk.model.predict(images, bundle, progress=False).array.transpose(2, 1, 0)[::-1, ::-1]
    assert ours.any() and np.array_equal(seen(tmp_path), ours)


@pytest.mark.filterwarnings("ignore")
def test_monai_reads_a_ct_as_nifti_or_as_a_folder_of_dicom_and_sees_the_same(trained, tmp_path: Path) -> None:
    from monai.bundle import run

    training, images = trained["chest-nodules"]
    bundle = rk.model.save_bundle(training, tmp_path / "mine", name="Mine")
    ours = rk.model.predict(images, bundle, progress=False).array.transpose(2, 1, 0)[::-1, ::-1]
    write_ct_series(images["ct"], tmp_path / "dicom")
    for source in (write_nifti(tmp_path / "ct.nii.gz", images["ct"]), tmp_path / "dicom"):
        paths = {
            "bundle_root": str(bundle.folder),
            "image": str(source),
            "output_dir": str(out := tmp_path / source.stem),
        }
        with torch.enable_grad():  # puts back what the bundle's "run" turns off for the whole process
            run(config_file=str(bundle.folder / "configs" / "inference.json"), **paths)
        assert ours.any() and np.array_equal(seen(out), ours)
