"""The nodule application step by step: which series it takes, what it says of the others, how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from highdicom import Volume
from pydicom import Dataset, dcmread
from scipy.spatial.transform import Rotation

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.deploy.pipeline import Case, attempt, choose_series, deliver, report, run_steps, segment, set_rules
from radkit.errors import DicomError, ModelError
from radkit.model import Bundle

BUNDLE = Bundle(Path("lung_nodule"), {})
AFFINE = np.array([[0, 0, 2.0, -10], [0, 2.0, 0, -20], [2.5, 0, 0, -30], [0, 0, 0, 1]])
ARRAY = np.random.default_rng(0).integers(-1000, 1000, (20, 16, 18)).astype(np.int16)


def write(folder: Path, *, affine=AFFINE, array=ARRAY, change=lambda k, image: None, **header) -> list[Path]:
    """A series of 20 slices of noise; ``change`` is given each with its number."""
    files = write_ct_series(Volume(array, affine, coordinate_system="PATIENT"), folder, header=header)
    for k, path in enumerate(files):
        image = dcmread(path)
        change(k, image)
        image.save_as(path)
    return files


def chosen(source: Path, **rules) -> Case:
    case = Case(BUNDLE)
    set_rules(case, rules)
    attempt(case, "choosing the series", lambda case: choose_series(case, rk.dicom.read_headers(source)))
    return case


# --- the choice


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, "not CT images"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "an enhanced CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"BodyPartExamined": "HEAD"}, "body part HEAD, not the chest"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not axial"),
        ({"ImageOrientationPatient": None}, "not axial"),
        ({"SliceThickness": 7.5}, "7.5 mm thick, at most 5 mm"),
        ({"PixelSpacing": None}, "PixelSpacing"),
    ],
)
def test_a_series_that_does_not_fit_is_refused_with_the_reason(changes, reason, tmp_path):
    write(tmp_path / "in", change=lambda k, image: [setattr(image, *item) for item in changes.items()])
    case = chosen(tmp_path / "in")
    assert (case.status, case.reason) == (
        "refused",
        "no series of the input is an axial chest CT that the model was made for",
    )
    (only,) = case.result()["series"]
    assert reason in only["reason"] and (only["images"], only["chosen"]) == (20, False)


def test_a_folder_of_all_sorts_is_told_apart_and_every_series_listed(tmp_path):
    good = write(tmp_path / "a", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")
    write(tmp_path / "b", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.2", SliceThickness=5)

    def scout(k, image):
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    for path in write(tmp_path / "c", SeriesInstanceUID="1.2.3", change=scout)[1:]:
        path.unlink()
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "empty.dcm").touch()
    shutil.copy(good[3], tmp_path / "copy.dcm")
    directory = dcmread(good[0])
    directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID = "1.2.840.10008.1.3.10"
    del directory.SeriesInstanceUID, directory.PixelData
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=False)
    case = chosen(tmp_path)
    listed = [(series["uid"], series["images"], series["chosen"], series["reason"]) for series in case.series]
    assert listed == [
        ("1.2.1", 20, True, ""),
        ("1.2.2", 20, False, "another series of the study has thinner slices, or more"),
        ("1.2.3", 1, False, "a localizer, not slices"),
    ]
    assert len({image.SOPInstanceUID for image in case.images}) == len(case.images) == 20


def test_a_series_with_a_gap_two_directions_or_two_images_at_one_place_is_left_for_the_next_best(tmp_path):
    write(tmp_path / "gap", SeriesInstanceUID="1.2.1", SliceThickness=1)[7].unlink()

    def turn(k, image):
        image.ImageOrientationPatient = (
            [1, 0, 0, 0, 1, 0] if k % 2 else [0.9950042, 0.0998334, 0, -0.0998334, 0.9950042, 0]
        )

    def again(k, image):
        image.SOPInstanceUID = f"1.2.9.{k}"

    write(tmp_path / "turned", SeriesInstanceUID="1.2.2", SliceThickness=1, change=turn)
    write(tmp_path / "phases" / "0", SeriesInstanceUID="1.2.3", SliceThickness=1)
    write(tmp_path / "phases" / "1", SeriesInstanceUID="1.2.3", SliceThickness=1, change=again)
    write(tmp_path / "whole", SeriesInstanceUID="1.2.4", SliceThickness=5)
    case = chosen(tmp_path)
    gap, turned, phases, whole = (series["reason"] for series in case.series)
    assert (
        "5.00 mm between" in gap and "one ImageOrientationPatient" in turned and "one slice at each position" in phases
    )
    assert whole == "" and str(case.images[0].SeriesInstanceUID) == "1.2.4"


def test_chest_cts_of_two_studies_are_not_mixed(tmp_path):
    for study in ("1.2", "1.3"):
        write(tmp_path / study, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
    case = chosen(tmp_path)
    assert (case.status, "one study" in case.reason, len(case.series)) == ("refused", True, 2)


def test_the_rules_of_app_yaml_decide(tmp_path):
    write(tmp_path / "in", BodyPartExamined="ABDOMEN")
    assert chosen(tmp_path).status == "refused"
    assert chosen(tmp_path, body_parts=["ABDOMEN"]).status == "running"
    assert "at least 21" in chosen(tmp_path, body_parts=["ABDOMEN"], fewest_slices=21).series[0]["reason"]


@pytest.mark.parametrize(
    "text",
    ["[]", "rules: 3", "rules: {body_parts: CHEST}", "rules: {fewest_slices: many}", "rules: {thickest_mm: -1}",
     "rules: {thinnest_mm: 1}", "rules: {fewest_slices: true}", "rules: [", ""],
)  # fmt: skip
def test_rules_that_are_none_fail_before_anything_is_looked_at(text, tmp_path):
    (tmp_path / "app.yaml").write_text(text)
    case = run_steps(tmp_path, tmp_path / "out", BUNDLE, rules=tmp_path / "app.yaml")
    assert case.status == "failed" and case.reason.startswith("reading the rules: ")
    assert "ScannerError" in case.reason or "ParserError" in case.reason or "body_parts, a list" in case.reason
    assert case.series == []


# --- how it ends


def ends(source: Path, output: Path) -> dict:
    """What result.json says after a run that leaves nothing else."""
    run_steps(source, output, BUNDLE)
    assert [path.name for path in output.iterdir()] == ["result.json"]
    return json.loads((output / "result.json").read_text())


def test_an_input_without_images_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    result = ends(tmp_path / "in", tmp_path / "out")
    assert result["status"] == "refused" and "found none" in result["reason"]
    assert (result["study"], result["series"], result["findings"], result["files"]) == (None, [], [], {})


def test_pixel_data_that_end_too_early_are_refused(tmp_path):
    path = write(tmp_path / "in")[5]
    path.write_bytes(path.read_bytes()[:-100])
    result = ends(tmp_path / "in", tmp_path / "out")
    assert result["status"] == "refused" and "truncated" in result["reason"]


def test_a_ct_without_lungs_is_refused(tmp_path):
    write(tmp_path / "in", array=np.full_like(ARRAY, 40))
    result = ends(tmp_path / "in", tmp_path / "out")
    assert result["status"] == "refused" and "air-filled lungs" in result["reason"]


def test_where_nothing_is_found_a_report_says_so(tmp_path):
    case = Case(BUNDLE, images=rk.dicom.read_headers(write(tmp_path / "in")))
    segment(case)
    report(case)
    assert (case.status, list(case.objects)) == ("done", ["report.dcm"])
    (told,) = rk.results.read_report(case.objects["report.dcm"])
    assert told.absent and told.kind == "Nodule"


def test_an_error_of_a_step_fails_the_case_and_its_text_stays_in_the_log(capsys):
    case = Case(BUNDLE)
    attempt(case, "measuring", lambda case: int("DOE^JOHN"))
    assert (case.status, case.reason) == ("failed", "measuring: ValueError; the log holds more")
    assert "DOE^JOHN" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ModelError("The GPU is full"), MemoryError()])
def test_too_little_memory_is_a_failure_and_no_fault_of_the_input(error):
    def out_of_memory(case):
        raise error

    case = Case(BUNDLE, lungs=Volume(ARRAY, AFFINE, coordinate_system="PATIENT"))
    attempt(case, "finding nodules", out_of_memory)
    assert case.status == "failed" and case.reason.startswith("finding nodules: ")


def test_steps_that_were_not_all_taken_are_not_done(tmp_path):
    case = Case(BUNDLE)
    deliver(case, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "failed"


def test_a_delivery_that_fails_leaves_no_half_of_it(tmp_path):
    case = Case(BUNDLE, status="done")
    case.objects = {"segmentation.dcm": Dataset()}  # cannot be written: no SOP class, no transfer syntax
    with pytest.raises(Exception):  # noqa: B017 whatever pydicom raises
        deliver(case, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_a_delivery_that_is_told_to_end_comes_to_its_end(tmp_path):
    class Interrupted(Dataset):
        def save_as(self, path, **options):
            os.kill(os.getpid(), signal.SIGTERM)
            Path(path).touch()

    (case := Case(BUNDLE, status="done")).objects = {"a.dcm": (one := Interrupted()), "b.dcm": one}
    one.SOPInstanceUID = "1.2"
    deliver(case, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.dcm", "b.dcm", "result.json"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- what is mended in the SDK's operators, and why


def square(k, image):
    """Leave an image as it is."""


def slope(k, image):
    image.RescaleSlope = 1 if k > 14 else 0.5  # files count from the head down


ABOVE = np.concatenate([np.abs(ARRAY[:1]) + 1, ARRAY[1:]])  # no air in the lowest slice
WIDE = AFFINE @ np.diag([1, 1, 0.5, 1])
OBLIQUE = AFFINE.copy()
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [8, 15, 5], degrees=True).as_matrix() @ AFFINE[:3, :3]
# A series; whether the SDK's voxels and its affine are right.
SERIES = {
    "plain": ({}, True, True),
    "oblique": ({"affine": OBLIQUE}, True, True),
    "numbered from the feet": ({"change": lambda k, image: setattr(image, "InstanceNumber", 100 - k)}, True, True),
    "pixels that are not square": ({"affine": WIDE}, True, False),
    "a rescale slope of each slice's own": ({"change": slope}, False, True),
    "a lowest slice without air": ({"array": ABOVE}, False, True),
}


def by_the_sdk(folder: Path, converter) -> tuple[np.ndarray, np.ndarray]:
    """A series as the SDK's loader, selector and a converter give it: (slice, row, column), affine to RAS mm."""
    from monai.deploy.core import Fragment
    from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator

    studies = DICOMDataLoaderOperator(Fragment(), name="load").load_data_to_studies(folder)
    image = converter.convert_to_image(DICOMSeriesSelectorOperator(Fragment(), name="select").filter(None, studies))
    return image.asnumpy(), np.array(image.metadata()["nifti_affine_transform"])


@pytest.fixture(scope="module")
def operators():
    if not find_spec("holoscan"):
        pytest.skip("MONAI Deploy has no wheels for this platform")
    rk._optional.optional("monai")
    sys.path.insert(0, str(Path(rk.__file__).parent / "deploy" / "nodule_app"))
    import operators

    return operators


@pytest.mark.parametrize("name", SERIES)
def test_of_the_sdk_s_conversion_voxels_or_affine_are_wrong_where_it_is_mended_and_ours_are_right(
    name, operators, tmp_path
):
    from monai.deploy.core import Fragment

    how, voxels, affine = SERIES[name]
    write(tmp_path, **how)
    volume = rk.dicom.read_series(tmp_path)
    right = np.diag([-1, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
    theirs, placed = by_the_sdk(tmp_path, operators.DICOMSeriesToVolumeOperator(Fragment(), name="convert"))
    assert (np.array_equal(theirs, volume.array), np.allclose(placed, right, atol=1e-4)) == (voxels, affine)
    case = Case(BUNDLE, volume=volume)
    ours, placed = by_the_sdk(tmp_path, operators.ToVolume(Fragment(), name="convert", case=case))
    assert np.array_equal(ours, volume.array) and np.allclose(placed, right, atol=1e-4)


def test_the_sdk_closes_the_gap_of_a_missing_slice_that_radkit_refuses(operators, tmp_path):
    from monai.deploy.core import Fragment

    write(tmp_path)[7].unlink()
    theirs, placed = by_the_sdk(tmp_path, operators.DICOMSeriesToVolumeOperator(Fragment(), name="convert"))
    assert len(theirs) == 19 and placed[2, 2] == pytest.approx(2.5 * 19 / 18)  # as if slices were thicker
    with pytest.raises(DicomError, match=r"5\.00 mm between"):
        rk.dicom.read_series(tmp_path)


def test_the_sdk_s_loader_drops_one_of_two_phases_without_a_word_and_ours_is_given_one_series(operators, tmp_path):
    from monai.deploy.core import Fragment

    def later(k, image):
        image.SOPInstanceUID = f"1.2.9.{k}"

    write(tmp_path / "0")
    write(tmp_path / "1", change=later)
    loader = operators.DICOMDataLoaderOperator(Fragment(), name="load")
    (study,) = loader.load_data_to_studies(tmp_path)
    assert sum(len(series.get_sop_instances()) for series in study.get_all_series()) == 20  # of 40
    case = chosen(tmp_path / "1")
    mended = operators.Load(Fragment(), name="load", case=case).load_data_to_studies(tmp_path)
    assert len(mended[0].get_all_series()[0].get_sop_instances()) == 20
