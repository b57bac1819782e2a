"""Results before readers that are not ours: dcmqi, dciodvfy, Orthanc. All give back what was written."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

import radkit as rk

# Debian's dciodvfy is older than the Label Map (2024): it knows neither the class nor a described background.
TOO_NEW = ("Information Object Not found", "SegmentNumber of 0", "Referenced SOP Class that is not segmentation")


@pytest.fixture(scope="module")
def results(small_ct):
    """Two segments far apart, the second on two slices; SEG in both forms, a report on each, and a note on all."""
    array = small_ct.mask.array.copy()
    array[20:22, 90:95, 10:33] = 2
    mask = small_ct.mask.with_array(array)
    measured = [rk.results.measure(mask, label=label) for label in (1, 2)]
    made = {}
    for form in ("binary", "labelmap"):
        made[form] = rk.results.write_segmentation(
            mask, small_ct.folder, form=form, kind={1: "nodule", 2: "left kidney"}, site={1: "right lower lobe"}
        )
        said = [{"border shape": "spiculated"}, {}]
        made[f"{form} report"] = rk.results.write_report(measured, small_ct.folder, made[form], qualitative=said)
    made["note"] = rk.results.write_key_objects(
        [*made.values(), dcmread(small_ct.files[5])], title="for referring provider", description="the nodule"
    )
    return mask, measured, made


def dcmqi(tool: str, *options: object) -> None:
    """Run one of dcmqi's commands; they stand beside this Python's own."""
    path = Path(sysconfig.get_path("scripts")) / tool
    said = subprocess.run([path, *map(str, options)], capture_output=True, text=True, timeout=600)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_dcmqi_reads_the_same_mask_and_the_same_codes(results, form, tmp_path):
    mask, _, made = results
    made[form].save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    dcmqi("segimage2itkimage", "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--mergeSegments",
          "-t", "nii")  # fmt: skip
    image = nibabel.load(tmp_path / "1.nii.gz")
    to_index = np.linalg.inv(mask.affine) @ np.diag([-1, -1, 1, 1]) @ image.affine  # NIfTI is RAS, DICOM is LPS
    read = np.asarray(image.dataobj)
    places = np.argwhere(read)
    index = (to_index @ np.column_stack([places, np.ones(len(places))]).T)[:3].T
    assert np.abs(index - index.round()).max() < 1e-3
    found = np.zeros_like(mask.array)
    found[tuple(index.round().astype(int).T)] = read[tuple(places.T)]
    assert np.array_equal(found, mask.array)
    (both,) = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
    first, second = sorted(both, key=lambda segment: segment["labelID"])
    assert first["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "27925004"
    assert first["AnatomicRegionModifierSequence"]["CodeMeaning"] == "Right"
    assert second["SegmentedPropertyCategoryCodeSequence"]["CodeMeaning"] == "Anatomical Structure"
    assert second["TrackingUniqueIdentifier"] == made[form].SegmentSequence[-1].TrackingUID


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_dcmqi_reads_the_same_numbers(results, form, tmp_path):
    _, measured, made = results
    made[f"{form} report"].save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    dcmqi("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    sized = [group for group in groups if "segmentationSOPInstanceUID" in group]
    lines = [group for group in groups if "segmentationSOPInstanceUID" not in group]
    assert len(lines) == 4
    for one, group in zip(measured, sized, strict=True):
        values = {item["quantity"]["CodeMeaning"]: float(item["value"]) for item in group["measurementItems"]}
        assert values == {"Volume": one.volume_mm3, "Long axis": one.long_axis_mm, "Short axis": one.short_axis_mm,
                          "Diameter": one.mean_diameter_mm}  # fmt: skip
        assert group["segmentationSOPInstanceUID"] == made[form].SOPInstanceUID
        assert {item["units"]["CodeValue"] for item in group["measurementItems"]} == {"mm", "mm3"}
    assert sized[0]["qualitativeEvaluations"][0]["conceptValue"]["CodeMeaning"] == "Spiculated"
    assert sized[1]["Laterality"]["CodeMeaning"] == "Left"


def test_the_validator_finds_no_error_in_any_of_them(results, errors_of):
    made = results[2]
    for name in ("binary", "binary report", "note"):
        assert errors_of(made[name]) == [], name
    for name in ("labelmap", "labelmap report"):
        assert [line for line in errors_of(made[name]) if not any(new in line for new in TOO_NEW)] == [], name


@pytest.mark.slow
def test_all_comes_back_from_orthanc_as_it_was_written(results, small_ct):
    mask, _, made = results
    with rk.pacs.open_archive("orthanc") as archive:
        archive.send([*small_ct.files, *made.values()], progress=False)
        fetched = archive.fetch(study=made["note"].StudyInstanceUID, progress=False)
    back = {one.SOPInstanceUID: one for one in fetched}
    assert len(back) == len(small_ct.files) + len(made)
    for name, sent in made.items():
        file = BytesIO()
        sent.save_as(file, enforce_file_format=True)
        file.seek(0)
        assert back[sent.SOPInstanceUID] == dcmread(file), name
    for form in ("binary", "labelmap"):
        seg, report = back[made[form].SOPInstanceUID], back[made[f"{form} report"].SOPInstanceUID]
        assert np.array_equal(rk.results.read_segmentation(seg, like=small_ct.volume).array, mask.array)
        assert rk.results.read_report(report) == rk.results.read_report(made[f"{form} report"])
        assert rk.results.check([seg, report], small_ct.folder) == []
    note = back[made["note"].SOPInstanceUID]
    assert rk.results.read_key_objects(note) == rk.results.read_key_objects(made["note"])
