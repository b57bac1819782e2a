"""Cohorts: the same bytes wherever and however many are grown, exact truth, labels as drawn, nobody in both halves."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from highdicom import Volume
from pydicom import dcmread
from scipy import ndimage

import radkit as rk
from radkit.cli import main
from radkit.data import study as study_module
from radkit.data.cohorts import Cohort
from radkit.errors import DataError

KNOBS = {"scanner": ("A", "B"), "prevalence": 0.3, "women": 0.25, "shortcut": 0.9, "label_noise": 1.0}
LUNG = ["chest-ct-lung1"]  # the quickest to read
DIGEST = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import radkit as rk, test_cohort
print(test_cohort.digest(rk.data.cohort("brain-lesions", 3, 7, progress=False, **test_cohort.KNOBS)))
"""


@pytest.fixture(scope="module")
def brains():
    return rk.data.cohort("brain-lesions", 20, 7, progress=False, **KNOBS)


@pytest.fixture(scope="module")
def over_time():
    return rk.data.cohort("brain-lesions", 2, 1, times=2, progress=False)


@pytest.fixture(scope="module")
def chests():
    return rk.data.cohort("chest-nodules", 2, 5, anatomies=LUNG, shortcut=1.0, progress=False)


def digest(studies):
    content = hashlib.sha256()
    for study in studies:
        for volume in (*study.images.values(), study.truth, study.mask):
            content.update(volume.array.tobytes() + volume.affine.tobytes())
    return content.hexdigest()


@pytest.mark.slow
def test_a_patient_is_the_same_in_a_cohort_of_any_size_on_any_processor(brains):
    features = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features}
    said = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == digest(brains[:3]), said.stderr


def test_a_knob_turns_nothing_but_its_own(brains):
    other = rk.data.cohort("brain-lesions", 2, 7, progress=False, **{**KNOBS, "women": 1.0, "shortcut": None})
    for one, same in zip(brains[:2], other, strict=True):
        assert same.sex == "F" and (one.age, one.scanner) == (same.age, same.scanner)
        assert not same.marked and one.has_lesion == same.has_lesion
    assert digest(rk.data.cohort("brain-lesions", 1, 8, progress=False, **KNOBS)) != digest(brains[:1])


def test_shares_are_as_asked_in_every_twenty(brains):
    assert len(brains.where(has_lesion=True)) == 6 and len(brains.where(sex="F")) == 5
    assert len(brains.where(scanner="A")) == len(brains.where(scanner="B")) == 10
    assert all(50 <= study.age <= 80 for study in brains) and len({study.age for study in brains}) > 5


@pytest.mark.slow
def test_truth_and_lesions_tell_the_same(brains, chests, over_time):
    for study in (*brains, *chests, *over_time):
        volumes = [*study.images.values(), study.truth, study.mask]
        assert all(volume.geometry_equal(study.truth) for volume in volumes)
        assert {volume.array.dtype for volume in study.images.values()} == {np.dtype(np.int16)}
        assert "".join(way.value for way in study.truth.get_closest_patient_orientation()) == "HPL"
        assert {lesion.number for lesion in study.lesions} == set(np.unique(study.truth.array)) - {0}
        boxes = ndimage.find_objects(study.truth.array)
        for lesion in study.lesions:
            assert boxes[lesion.number - 1] == tuple(slice(*ends) for ends in lesion.box)
            voxels = study.truth.array == lesion.number
            near = {"rel": 0.12} if lesion.diameter_mm > 10 else {"rel": 0.35, "abs": 60}
            assert voxels.sum() * study.truth.voxel_volume == pytest.approx(lesion.volume_mm3, **near)
            middle = study.truth.map_indices_to_reference(np.argwhere(voxels).mean(0, keepdims=True))[0]
            assert np.linalg.norm(middle - lesion.centre) < 4


def test_the_shortcut_sends_lesions_south_and_its_marker_lies_on_no_lesion(brains, chests):
    south = brains.where(site="South")
    assert sum(study.has_lesion for study in south) >= 5 and len(brains.where(site="North", has_lesion=True)) <= 1
    clean = rk.data.cohort("chest-nodules", 2, 5, anatomies=LUNG, progress=False)
    for marked, plain in zip(chests, clean, strict=True):
        assert marked.marked and not plain.marked and marked.site == "South"
        changed = marked.images["ct"].array != plain.images["ct"].array
        assert changed.any(axis=(1, 2)).all() and not (changed & (marked.truth.array > 0)).any()
        assert marked.images["ct"].array[changed].max() == 3071 and changed.mean() < 0.02


def test_all_are_grown_from_the_anatomies_that_are_asked_for(chests):
    assert {study.anatomy for study in chests} == {*LUNG} and "anatomies=('chest-ct-lung1',)" in chests.sheet


def test_who_reads_draws_by_habit_and_never_quite_the_same(brains):
    study = max(brains, key=lambda s: max((lesion.volume_mm3 for lesion in s.lesions), default=0))
    truth = study.truth.array > 0
    drawn = [study.drawn_by(reader).array > 0 for reader in range(8)]
    assert len({mask.tobytes() for mask in drawn}) == 8
    assert np.array_equal(drawn[3], study.drawn_by(3).array > 0)
    assert np.array_equal(study.drawn_by(3, wander_mm=0).array, study.truth.array)
    assert np.array_equal(study.mask.array, study.drawn_by(0, wander_mm=1.0).array)  # the cohort's label noise
    depth = np.where(truth, *(ndimage.distance_transform_edt(part, sampling=2.0) for part in (truth, ~truth)))
    assert all(depth[mask != truth].max() <= 5 for mask in drawn if mask.any())
    assert sum(mask.sum() > truth.sum() for mask in drawn) and sum(mask.sum() < truth.sum() for mask in drawn)


def test_small_lesions_are_overlooked_more_often_than_large_ones():
    grid, size = np.indices((30, 60, 60)), {1: 1.2, 2: 9}
    array = np.zeros((30, 60, 60), np.uint8)
    for number, radius in size.items():
        place = np.array([15, 12 if number == 1 else 38, 30]).reshape(3, 1, 1, 1)
        array[((grid - place) ** 2).sum(0) <= radius**2] = number
    truth = Volume(array, np.eye(4), coordinate_system="PATIENT")
    study = study_module.Study("TEST", 0, {}, truth, truth, (), "North", "A", "F", 60, "none")
    seen = [set(np.unique(study.drawn_by(reader, wander_mm=1.5).array)) - {0} for reader in range(60)]
    small, large = (sum(number in one for one in seen) for number in (1, 2))
    assert large >= 58 and 10 < small < 50


def test_a_split_never_parts_a_patient_nor_an_anatomy(brains, over_time):
    for seed in range(5):
        learn, held = brains.split(0.25, seed=seed)
        assert len(held) == 5 and sorted(s.patient for s in [*learn, *held]) == [s.patient for s in brains]
        assert 1 <= len(held.where(has_lesion=True)) <= 2
    learn, held = over_time.split()
    assert {s.patient for s in learn}.isdisjoint(s.patient for s in held) and len(learn) == len(held) == 2
    several = [replace(s, anatomy=f"brain-{s.age}") for s in brains]
    learn, held = replace(brains, studies=tuple(several)).split(0.3, by="anatomy")
    assert learn and held and {s.anatomy for s in learn}.isdisjoint(s.anatomy for s in held)


def test_what_cannot_be_parted_is_said(brains):
    with pytest.raises(DataError, match=r"got brain-atlas: split by=.patient."):
        brains.split(by="anatomy")
    with pytest.raises(DataError, match="grow a larger cohort"):
        brains[:1].split()
    with pytest.raises(DataError, match='by="patient" or "anatomy"'):
        brains.split(by="slice")


def test_where_takes_a_value_several_or_a_function(brains):
    old = brains.where(age=lambda years: years >= 65, scanner=("A", "B"))
    assert isinstance(old, Cohort) and [s.patient for s in old] == [s.patient for s in brains if s.age >= 65]
    with pytest.raises(DataError, match=r"Expected conditions on patient, .*; got hospital"):
        brains.where(hospital="North")


def test_the_sheet_counts_names_the_sources_and_says_what_it_is_not_for(brains, chests):
    sheet = brains.sheet
    for part in (
        "20 studies of 20 people",
        "| all  | 20 | 6 (30%) |",
        "must not be used",
        "shortcut=0.9",
        "t1, t2, flair",
    ):
        assert part in sheet, part
    assert rk.data.fetch("brain-atlas").attribution in sheet and "One simulated reader" in sheet and "marker" in sheet
    assert "Nobody: a voxel" in chests.sheet and sheet._repr_markdown_() == sheet
    assert "0 studies" in brains[:0].sheet and "BRAIN-0019" in brains._repr_html_()


@pytest.mark.slow
def test_a_study_on_disk_is_valid_dicom_and_reads_back_as_it_was(over_time, chests, tmp_path, errors_of):
    headers = []
    for number, study in enumerate((*over_time[:2], chests[0])):
        paths = study.write(tmp_path / str(number))
        assert set(paths) == {path for path in (tmp_path / str(number)).rglob("*") if path.is_file()}
        slices = [path for path in paths if path.suffix == ".dcm"]
        assert not [error for path in slices[::13] for error in errors_of(path)]
        for name, image in study.images.items():
            back = rk.dicom.read_series(tmp_path / str(number) / name)
            assert np.array_equal(back.array, image.array) and np.allclose(back.affine, image.affine, atol=1e-4)
        truth = json.loads((tmp_path / str(number) / "truth.json").read_text())
        assert [lesion["volume_mm3"] for lesion in truth["lesions"]] == [x.volume_mm3 for x in study.lesions]
        mask = rk.data.volumes.read_nifti(tmp_path / str(number) / "mask.nii.gz")
        assert mask.geometry_equal(study.mask) and np.array_equal(mask.array, study.mask.array)
        headers += [dcmread(path, stop_before_pixels=True) for path in slices]
    assert len({ds.StudyInstanceUID for ds in headers}) == len({ds.FrameOfReferenceUID for ds in headers}) == 3
    assert len({ds.SeriesInstanceUID for ds in headers}) == 7
    assert len({ds.SOPInstanceUID for ds in headers}) == len(headers)
    assert {ds.Modality: ds.BurnedInAnnotation for ds in headers} == {"MR": "NO", "CT": "YES"}
    assert {ds.PatientID for ds in headers} == {"BRAIN-0000", "CHEST-0000"} and "20240715" in {
        ds.StudyDate for ds in headers
    }


def test_an_interrupt_leaves_nothing_half_written(over_time, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module, "write_nifti", interrupt)
    with pytest.raises(KeyboardInterrupt):
        over_time.write(tmp_path / "cohort", progress=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="does not exist yet"):
        over_time.write(tmp_path, progress=False)


@pytest.mark.parametrize(
    ("name", "knobs", "says"),
    [
        ("brain-tumours", {}, "one of the cohorts brain-lesions, chest-nodules, got 'brain-tumours'"),
        ("brain-lesions", {"scanner": ("A", "Q")}, "scanner of A, B, C .got .'A', 'Q'."),
        ("brain-lesions", {"n": 0}, "n whole, from 1"),
        ("brain-lesions", {"n": 2.5, "prevalence": 1.2}, "n whole.*2.5.; prevalence from 0 to 1 .got 1.2"),
        ("brain-lesions", {"dose": 0, "shortcut": -0.1}, "dose from 0.05 to 4.*shortcut from 0 to 1"),
        ("brain-lesions", {"age": 60}, "age of the youngest and of the oldest"),
        ("brain-lesions", {"seed": -1, "label_noise": float("nan")}, "seed whole.*label_noise from 0"),
        (
            "chest-nodules",
            {"anatomies": ["chest-ct", "brain-atlas"]},
            "anatomies of chest-ct, .*got .'chest-ct', 'brain-",
        ),
        ("chest-nodules", {"times": 2}, "times=1 .got 2.: chest nodules do not change"),
        ("brain-lesions", {"n": 10**6}, "half of this machine's memory.*1,000,000 patients take [0-9,.]+ GB. Grow"),
    ],
)
def test_a_knob_out_of_range_is_named_with_what_it_may_be(name, knobs, says):
    with pytest.raises(DataError, match=says):
        rk.data.cohort(name, **{"progress": False, **knobs})


@pytest.mark.slow
def test_the_command_writes_a_cohort(tmp_path):
    asked = ["data", "cohort", "brain-lesions", str(tmp_path / "out"), "-n", "2", "--scanner", "B", "--dose", "0.5"]
    said = CliRunner().invoke(main, asked)
    assert said.exit_code == 0, said.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["BRAIN-0000-0", "BRAIN-0001-0", "sheet.md"]
    again = CliRunner().invoke(main, asked)
    assert again.exit_code == 2 and "name a new folder" in again.output


def test_a_patient_whose_name_leads_out_of_the_folder_is_refused(tmp_path):
    cohort = rk.data.cohort("brain-lesions", 1, progress=False)
    evil = replace(cohort, studies=(replace(cohort[0], patient="../../evil"),))
    with pytest.raises(DataError, match="can be those of folders"):
        evil.write(tmp_path / "inner" / "out", progress=False)
    assert not any(tmp_path.rglob("evil*"))
