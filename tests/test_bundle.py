"""Bundles: what comes from elsewhere is read and never run; what is saved is complete and runs by MONAI alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom import Volume

import radkit as rk
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
    "an absurd number": lambda c, run: c["network_def"].update(channels=[10**9, 10**9]),
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
    torch.save([torch.zeros(3)], folder / "models" / "model.pt")
    with pytest.raises(ModelError, match="weights of the network"):
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
