"""What the hostile and the clumsy hand to the model room: a plain answer, nothing half-written, nobody named."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from highdicom import Volume
from test_training import CASES, HELD_OUT, Own, same, train, volume

import radkit as rk
from radkit.errors import ModelError

IMAGES = HELD_OUT[0].images
pytestmark = pytest.mark.filterwarnings("error:.*:RuntimeWarning")


@pytest.fixture(scope="module")
def trained():
    return train()


def named(image: Any = None, mask: Any = None) -> list[Any]:
    """Cases of which the second is wrong, and has a name that no message may tell."""
    images = CASES[1].images if image is None else {"mr": image}
    return [CASES[0], SimpleNamespace(images=images, mask=mask or CASES[1].mask, patient="Secret^Name")]


def with_value(of: Volume, value: float) -> Volume:
    array = of.array.astype(np.float64)
    array[0, 0, 0] = value
    return of.with_array(array)


def coarse(case: Own, mm: float) -> Own:
    cube = np.diag([mm] * 3 + [1])
    mr, mask = (Volume(v.array, cube, coordinate_system="PATIENT") for v in (case.images["mr"], case.mask))
    return replace(case, images={"mr": mr}, mask=mask)


STUDIES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a generator": (lambda: {"cases": (case for case in CASES)}, "studies in cases, as a list, got a generator"),
    "dicts": (lambda: {"cases": [vars(case) for case in CASES]}, r"Study 1 of cases.*SimpleNamespace\(\*\*case\)"),
    "arrays": (lambda: {"cases": named(CASES[1].images["mr"].array)}, r"Study 2 of cases.*highdicom.Volume\(array"),
    "NaN in a mask": (lambda: {"cases": named(mask=with_value(CASES[1].mask, np.nan))}, "1 voxels of the mask are NaN"),
    "a mask elsewhere": (lambda: {"cases": named(mask=volume(CASES[1].mask.array, 5))}, "Study 2 of cases.*shifted"),
    "a lesion lost": (lambda: {"held_out": [coarse(HELD_OUT[0], 1e-3)]}, "no lesion of held_out is left"),
    "voxels of a metre": (lambda: {"cases": [coarse(case, 5000.0) for case in CASES]}, "268,435,456 are the most"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STUDIES)
def test_studies_that_are_none_are_named_by_number_and_not_by_name(case):
    options, message = STUDIES[case]
    with pytest.raises(ModelError, match=message) as refused:
        train(**options())
    assert "Secret" not in str(refused.value) and "OWN" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seed": seed} for seed in (-1, 1.5, "a", None)),
        *({"budget_s": seconds} for seconds in (-1, float("nan"), "long")),
        *({name: 0} for name in ("steps", "batch", "validate_every", "patience")),
        *({"learning_rate": -1}, {"with_lesion": float("nan")}, {"patch": (16, 16)}, {"window": 16}, {"spacing_mm": 2}),
        *({name: {}} for name in ("network", "scaling", "loss")),
        *({"recipe": None}, {"overlap": "maybe"}, {"channels": "mr"}, {"augmentation": None}),
        {"augmentation": ({"_target_": "RandFlip"},)},
        {"scaling": {"_target_": "ScaleIntensityd", "minv": 0.0, "maxv": 1e6}},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ModelError, match=r"Expected|recipe"):
        train(**wrong)


def test_where_a_checkpoint_cannot_be_written_or_read_it_is_said(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        train(folder=tmp_path / "taken")
    train(folder=tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for part in ("parts", "weights", "best"):
        torch.save({**saved, part: {}}, tmp_path / "checkpoint.pt")
        with pytest.raises(ModelError, match="damaged"):
            train(folder=tmp_path, resume=True)


def test_what_is_no_image_is_said_before_anything_is_computed(trained):
    nan = with_value(IMAGES["mr"], np.nan)
    for images, message in ((IMAGES["mr"].array, "ndarray"), ({}, "none"), (HELD_OUT[0], "got Own"), (nan, "are NaN")):
        with pytest.raises(ModelError, match=message):
            rk.model.predict(images, trained, progress=False)


def test_an_image_smaller_than_the_patch_is_looked_at_all_the_same(trained):
    for shape in ((1, 16, 16), (1, 1, 1), (3, 5, 7)):
        assert rk.model.predict(volume(np.ones(shape, bool)), trained, progress=False).array.shape == shape


def test_a_model_that_is_none_and_a_gpu_that_is_full(trained, monkeypatch):
    with pytest.raises(ModelError, match="load_bundle"):
        rk.model.predict(IMAGES, "lung_nodule")
    monkeypatch.setattr(trained.network, "forward", Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ModelError, match="GPU is full"):
        rk.model.predict(IMAGES, trained, progress=False)


def test_a_bundle_that_cannot_be_written_leaves_nothing(trained, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    wrong = (
        {"folder": tmp_path / "taken" / "mine"},
        {"name": ""},
        {"name": None},
        {"authors": ["A"]},
        {"training": None},
    )
    for options in wrong:
        with pytest.raises(ModelError, match=r"cannot be written|Expected"):
            rk.model.save_bundle(**{"training": trained, "folder": tmp_path / "mine", "name": "Mine", **options})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(ModelError, match="No space left"):
            rk.model.save_bundle(trained, tmp_path / "mine", name="Mine")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    monkeypatch.chdir(Path(tmp_path / "here").mkdir() or tmp_path / "here")
    assert rk.model.save_bundle(trained, ".", name="Mine").folder == tmp_path / "here"
    with pytest.raises(ModelError, match="bundle"):
        rk.model.load_bundle("x" * 5000)


def interrupted(folder: Path) -> None:
    """Train, and be interrupted at four moments: in a process of its own, for it may be left with a lock held."""
    train()  # what is imported at the first time is there by now
    before = torch.get_rng_state()
    for delay in (0.02, 0.1, 0.2, 0.3):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            train(folder=folder, resume=True)
            timer.join(), time.sleep(0.05)  # or it comes between two lines of this function
        except KeyboardInterrupt:
            pass
        assert {path.name for path in folder.iterdir()} <= {"best.pt", "checkpoint.pt"}
    assert torch.equal(before, torch.get_rng_state())
    os.write(1, b"all four")
    os._exit(0)


@pytest.mark.slow
def test_a_real_interrupt_at_any_moment_leaves_whole_files_and_resumes_to_the_same(tmp_path, trained):
    code = "import pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
    code += "from test_bad_models import interrupted; interrupted(pathlib.Path(sys.argv[2]))"
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    child = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert child.stdout.endswith("all four"), child.stderr
    assert same(train(folder=tmp_path, resume=True), trained)
