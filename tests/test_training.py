"""Training: the same weights from the same seed, interrupted or not; a clear answer to what cannot be learnt from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from highdicom import Volume

import radkit as rk
from radkit.errors import ModelError
from radkit.model import learner, samples
from radkit.model.recipes import RECIPES, Recipe

AFFINE = np.array([[0, 0, 2.0, -16], [0, 2.0, 0, -16], [3.0, 0, 0, 0], [0, 0, 0, 1]])
RECIPE = replace(
    RECIPES["brain-lesions"],
    channels=("mr",),
    network={"_target_": "UNet", "out_channels": 1, "channels": [4, 8], "strides": [2], "num_res_units": 0},
    patch=(16, 16, 1),
    batch=2,
    window=None,
    steps=6,
    validate_every=2,
)


@dataclass(frozen=True)
class Own:
    """A learner's own case: not a Study, and no more than what is asked for."""

    images: dict[str, Volume]
    mask: Volume
    patient: str = ""


def volume(array: np.ndarray, shift_mm: float = 0.0) -> Volume:
    affine = AFFINE.copy()
    affine[0, 3] += shift_mm
    return Volume(array, affine, coordinate_system="PATIENT")


def own(number: int, *, lesion: bool = True, shape: tuple[int, int, int] = (6, 16, 16)) -> Own:
    """A bright block in noise, at another place in each case."""
    rng = np.random.default_rng(number)
    image, mask = rng.normal(100, 10, shape), np.zeros(shape, np.uint8)
    if lesion:
        z, y, x = (int(rng.integers(1, n - 4)) for n in shape)
        mask[z : z + 2, y : y + 4, x : x + 3] = 1
    image[mask > 0] += 100
    return Own({"mr": volume(image.astype(np.int16))}, volume(mask), f"OWN-{number}")


CASES, HELD_OUT = [own(n) for n in range(4)], [own(n) for n in range(10, 12)]


def train(recipe: Recipe = RECIPE, cases=CASES, held_out=HELD_OUT, **options):
    return rk.model.train(cases, held_out, recipe=recipe, **{"progress": False, "device": "cpu", **options})


def weights(result) -> dict[str, torch.Tensor]:
    return result.network.state_dict()


def same(one, other) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole():
    return train()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole):
    assert same(whole, train())
    assert not same(whole, train(seed=1))


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5), np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5), np.random.seed(5)
    train(steps=2)
    assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(3) == expected[1]).all()


def test_it_learns_though_a_bundle_that_was_run_has_turned_gradients_off():
    with torch.set_grad_enabled(False):  # as "run" of a bundle's inference.json does, for the whole process
        assert train(steps=2).history[-1]["step"] == 2
        assert not torch.is_grad_enabled()


def test_it_learns_what_is_there_to_learn():
    result = train(steps=200, validate_every=50, batch=4)
    found = rk.model.predict(HELD_OUT[0].images, result, progress=False)
    likely = rk.model.predict(HELD_OUT[0].images, result, probability=True, progress=False)
    truth = HELD_OUT[0].mask.array > 0
    assert min(result.dice.values()) > 0.8 and result.history[0]["dice"] < 0.3
    assert found.array.dtype == np.uint8 and (found.array[truth] > 0).mean() > 0.8
    assert likely.array.dtype == np.float32 and np.array_equal(likely.affine, AFFINE)
    assert np.array_equal(likely.array > 0.5, found.array > 0)
    # What is seen in a validation is what a prediction gives: the images need no resampling here.
    dice = 2 * (found.array[truth] > 0).sum() / ((found.array > 0).sum() + truth.sum())
    assert dice == pytest.approx(result.dice["OWN-10"], abs=0.02)


def test_a_volume_network_learns_from_patches_larger_than_the_volume():
    net = {**RECIPE.network, "channels": [4, 8]}
    result = train(patch=(24, 24, 16), network=net, spacing_mm=(2.0, 2.0, 2.0), steps=2)
    assert result.recipe.dimensions == 3
    assert rk.model.predict(HELD_OUT[0].images, result, progress=False).spatial_shape == (6, 16, 16)


# Interruptions


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 7))
@pytest.mark.parametrize("where", ["batch", "learn", "anneal"])
def test_interrupted_at_any_step_and_resumed_it_ends_in_the_same_weights(whole, tmp_path, monkeypatch, step, where):
    owner = samples.Samples if where == "batch" else learner.Learner
    work, calls = getattr(owner, where), []

    def stop(self, *args):
        calls.append(1)
        result = work(self, *args)
        if len(calls) == step:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, stop)
        halted = train(folder=tmp_path)
    assert not halted.finished and halted.best["step"] <= step
    again = train(folder=tmp_path, resume=True)
    assert again.finished and same(again, whole)
    assert [row["dice"] for row in again.history] == [row["dice"] for row in whole.history]


def test_dropout_throws_the_same_dice_after_a_resume(tmp_path, monkeypatch):
    dropping = replace(RECIPE, network={**RECIPE.network, "dropout": 0.3})
    expected, work = train(dropping), learner.Learner.learn

    def stop(self, *args):
        work(self, *args)
        if self.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "learn", stop)
        train(dropping, folder=tmp_path)
    torch.manual_seed(99)
    assert same(train(dropping, folder=tmp_path, resume=True), expected)


@pytest.mark.slow
def test_killed_while_it_writes_it_resumes_from_the_checkpoint_before(whole, tmp_path):
    code = f"""
        import os, signal, sys, torch
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        torch.set_num_threads(1)
        import test_training as own
        write = torch.save
        def die(content, path):
            write(content, path)
            if content.get("step") == 4:
                path.write_bytes(path.read_bytes()[:100])  # half a file
                os.kill(os.getpid(), signal.SIGKILL)
        torch.save = die
        own.train(folder={str(tmp_path)!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert same(train(folder=tmp_path, resume=True), whole)


def test_a_resume_without_a_checkpoint_begins_and_after_the_end_repeats(whole, tmp_path):
    assert same(train(folder=tmp_path, resume=True), whole)
    assert same(train(folder=tmp_path, resume=True), whole)


def test_a_checkpoint_of_something_else_is_not_resumed(tmp_path):
    train(folder=tmp_path)
    for change in ({"seed": 1}, {"steps": 8}, {"cases": CASES[:3]}):
        with pytest.raises(ModelError, match="another recipe, seed or studies"):
            train(folder=tmp_path, resume=True, **change)
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="no checkpoint of radkit"):
        train(folder=tmp_path, resume=True)
    with pytest.raises(ModelError, match="folder="):
        train(resume=True)


# The best, patience, the budget


def test_the_best_checkpoint_is_the_best(tmp_path, monkeypatch):
    scores = iter([0.1, 0.5, 0.9, 0.3])  # of steps 0, 2, 4, 6
    work, seen = learner.Learner.validate, {}

    def validate(self, unseen, clock):
        score = next(scores)
        self.dice = lambda *pair: score
        seen[self.step] = {name: value.clone() for name, value in self.network.state_dict().items()}
        work(self, unseen, clock)
        del self.dice

    monkeypatch.setattr(learner.Learner, "validate", validate)
    result = train(folder=tmp_path)
    assert result.best["step"] == 4 and result.best["dice"] == 0.9
    kept = torch.load(tmp_path / "best.pt", weights_only=True)
    assert all(
        torch.equal(weights(result)[name], value) and torch.equal(kept[name], value) for name, value in seen[4].items()
    )


def test_it_ends_early_when_it_no_longer_gets_better(monkeypatch):
    monkeypatch.setattr(learner.Learner, "dice", lambda self, *pair: 0.5)
    result = train(steps=100, patience=3)
    assert result.finished and result.facts["steps"] == 6 and result.best["step"] == 0


def test_a_budget_ends_the_schedule_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(learner.time, "perf_counter", lambda: now[0])
    work, rates = learner.Learner.anneal, []

    def anneal(self, clock):
        now[0] += 1.0  # a second a step
        work(self, clock)
        rates.append(self.schedule.get_last_lr()[0])

    monkeypatch.setattr(learner.Learner, "anneal", anneal)
    result = train(steps=1000, validate_every=10, budget_s=40.0)
    assert result.facts["steps"] == 40 and result.history[-1]["step"] == 40
    assert max(rates) > 0.9 * RECIPE.learning_rate and rates[-1] < 0.001 * RECIPE.learning_rate


def test_a_budget_spent_on_preparation_is_said_to_be_too_small():
    with pytest.raises(ModelError, match="spent before the first step"):
        train(budget_s=1e-6)


# What cannot be learnt from


def other(case: Own, **images: Volume) -> Own:
    return replace(case, images={**case.images, **images})


def nan(case: Own) -> Own:
    array = case.images["mr"].array.astype(np.float32)
    array[0, 0, :3] = np.nan
    return other(case, mr=volume(array))


WRONG = {
    "no cases": (lambda: {"cases": []}, "Expected studies in cases"),
    "nobody held out": (lambda: {"held_out": []}, "Expected studies in held_out"),
    "no lesion to learn": (
        lambda: {"cases": [own(n, lesion=False) for n in range(3)]},
        "None of the 3 studies in cases",
    ),
    "no lesion to measure": (lambda: {"held_out": [own(9, lesion=False)]}, "None of the 1 studies in held_out"),
    "the same patient twice": (lambda: {"held_out": [*HELD_OUT, CASES[0], CASES[1]]}, "2 of the people in held_out"),
    "a mask on another grid": (
        lambda: {"cases": [replace(CASES[0], mask=volume(np.ones((6, 16, 12), np.uint8)))]},
        r"mask is on another grid.*\(6, 16, 12\).*\(6, 16, 16\)",
    ),
    "a mask elsewhere": (
        lambda: {"cases": [replace(CASES[0], mask=volume(CASES[0].mask.array, 5.0))]},
        "shifted or turned",
    ),
    "a channel missing": (
        lambda: {"cases": [*CASES, Own({"ct": CASES[0].images["mr"]}, CASES[0].mask, "X")]},
        "lacks the image mr",
    ),
    "NaN": (lambda: {"cases": [nan(CASES[0])]}, "3 voxels of mr are NaN"),
    "an unknown recipe": (lambda: {"recipe": "liver"}, "No recipe 'liver'"),
    "an unknown field": (lambda: {"epochs": 3}, "A recipe has no epochs"),
    "a patch that no stride divides": (lambda: {"patch": (15, 15, 1)}, r"\(1, 15, 15\); it gave \(1, 16, 16\)"),
    "a network that is none": (lambda: {"network": {"_target_": "UNicorn"}}, "cannot be built"),
    "a device that is not there": (lambda: {"device": "tpu"}, "No device 'tpu'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_learnt_from_is_said(case):
    options, message = WRONG[case]
    with pytest.raises(ModelError, match=message):
        train(**options())


def test_the_same_patient_in_both_halves_is_allowed_to_make_a_point():
    assert train(held_out=CASES[:2], overlap="allow", steps=2).finished


def test_a_full_gpu_says_what_to_lower(monkeypatch):
    def full(self, *args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(learner.Learner, "learn", full)
    with pytest.raises(ModelError, match=r"batch of 2 patches of 16 x 16 x 1 voxels.*batch=1 or a smaller patch"):
        train()


# What is shown


def test_outside_of_a_notebook_it_is_a_table(capsys):
    train(progress=True)
    shown = capsys.readouterr().out.replace("\r", "\n").splitlines()
    rows = [line.split() for line in shown if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["0", "2", "4", "6"] and len(rows[-1]) == 4
    assert shown[0].startswith("Training on 1 CPU core (") and shown[-1].startswith("Mean Dice ")


def test_progress_false_is_silent(capfd):
    train(progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_facts_are_plain_data(whole):
    facts = json.loads(json.dumps(whole.facts))
    assert facts["people"] == 4 and facts["held_out_people"] == 2 and facts["steps"] == 6
    assert facts["recipe"]["steps"] == 6 and facts["dice"].keys() == {"OWN-10", "OWN-11"}


@pytest.mark.slow
def test_in_a_notebook_one_picture_is_drawn_anew():
    nbformat, client = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    code = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport test_training as own\n"
    code += "result = own.train(progress=True)"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client.NotebookClient(book, timeout=600, kernel_name="python3").execute()
    pictures = [out for out in book.cells[0].outputs if "image/png" in out.get("data", {})]
    texts = "".join(out.get("text", "") for out in book.cells[0].outputs)
    assert len(pictures) == 1  # the last, which took the place of the three before
    assert "Training on" in texts and "seconds    loss" not in texts
    assert not any(out.output_type == "error" or out.get("name") == "stderr" for out in book.cells[0].outputs)
